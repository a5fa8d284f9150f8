import contextlib
import queue as queues
import threading
import time
from collections.abc import Iterator
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
    bell.ring()
    assert time.monotonic() - before < 0.5
    waiting.until(lambda: bell.is_reachable is False, what="the failed ring")


def test_every_worker_hears_a_ring_that_carries_no_work(broker_url: str) -> None:
    with listening(broker_url) as first, listening(broker_url) as second:
        Doorbell(broker_url).ring()
        for message in (first.get(timeout=20), second.get(timeout=20)):
            assert message.headers["task"] == queue.TASK
            assert message.headers["argsrepr"] == "()"
            assert message.headers["expires"] is not None
            assert message.content_type == "application/json"


def test_rings_of_one_moment_are_one(broker_url: str) -> None:
    bell = Doorbell(broker_url)
    with listening(broker_url) as heard:
        for _ in range(100):
            bell.ring()
        heard.get(timeout=20)
        bell.close()
    assert bell.is_reachable
    assert heard.qsize() < 10


def test_who_ends_rings_once_more(broker_url: str) -> None:
    bell = Doorbell(broker_url)
    with listening(broker_url) as heard:
        bell.close()
        heard.get(timeout=20)


@contextlib.contextmanager
def listening(broker_url: str) -> Iterator[queues.SimpleQueue[Any]]:
    """What a worker hears from now on."""
    heard, over = queues.SimpleQueue[Any](), threading.Event()
    celery = queue.make_celery(broker_url)
    with celery.connection_for_read() as connection:
        celery.amqp.TaskConsumer(connection.channel(), on_message=heard.put).consume()

        def listen() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=0.1)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            _until_it_hears(broker_url, heard)
            yield heard
        finally:
            over.set()
            thread.join()
    celery.close()


def _until_it_hears(broker_url: str, heard: queues.SimpleQueue[Any]) -> None:
    """A subscription is made a moment after it's asked for."""
    bell = Doorbell(broker_url)

    def rung() -> bool:
        bell.ring()
        return not heard.empty()

    waiting.until(rung, what="a ring that is heard")
    bell.close()
    with contextlib.suppress(queues.Empty):
        while heard.get(timeout=0.3):
            pass
