import time
from typing import Any

from core import queue
from core.queue import Doorbell
from tests import servers, waiting


def test_without_a_broker_a_ring_is_nothing() -> None:
    bell = Doorbell(None)
    bell.ring()
    assert bell.is_reachable is None


def test_a_dead_broker_costs_the_caller_nothing() -> None:
    bell = Doorbell(f"redis://127.0.0.1:{servers.free_port()}/0")
    before = time.monotonic()
    bell.ring(3)
    assert time.monotonic() - before < 0.5
    waiting.until(lambda: bell.is_reachable is False, what="the failed ring")


def test_a_ring_is_a_message_that_carries_no_work(broker_url: str) -> None:
    bell = Doorbell(broker_url)
    bell.ring(2)
    waiting.until(lambda: bell.is_reachable, what="the ring")
    celery = queue.make_celery(broker_url)
    with celery.connection_for_read() as connection:
        channel: Any = connection.channel()
        found = waiting.until(lambda: channel.basic_get(queue.QUEUE, no_ack=True), what="a message")
        assert found.headers["task"] == queue.TASK
        assert found.headers["argsrepr"] == "()"
        assert found.headers["expires"] is not None
        assert found.content_type == "application/json"
    celery.close()
