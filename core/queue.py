"""The doorbell: a Celery message over Redis that says "look into SQL". Nothing is lost with it.

A message carries no work. Workers look into SQL by themselves every few seconds;
that look is the outbox, so a dead or flushed broker costs that delay and no more.
"""

from __future__ import annotations

import logging
import threading

from celery import Celery
from kombu import Exchange
from kombu.common import Broadcast

TASK = "worker.look"
QUEUE = "stillhouse"
LOOK_SECONDS = 15.0  # a service that is quiet knows by then whether its broker is there
PAUSE_SECONDS = 0.05  # what is asked for meanwhile is one ring
CLOSE_SECONDS = 3.0
EXPIRES_SECONDS = 300  # an old hint says nothing: the look into SQL has happened meanwhile

log = logging.getLogger(__name__)


def make_celery(broker_url: str) -> Celery:
    """A Celery app that loses nothing that matters: SQL owns every job."""
    app = Celery("stillhouse", broker=broker_url, backend=None)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=False,  # a hint that is lost is only a delay
        task_serializer="json",
        accept_content=["json"],  # a pickle in the broker would be code
        task_default_queue=QUEUE,
        # Every worker hears every hint: one that is busy would swallow what an idle one waits for.
        task_queues=[Broadcast(QUEUE)],
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a broker may come after hours; 100 tries would end
        broker_transport_options={
            "socket_connect_timeout": 2,
            "socket_timeout": 5,  # a broker that hangs must not hang who rings
            "socket_keepalive": True,
            "health_check_interval": 10,  # a consumer whose broker fell silent connects anew
        },
        broker_connection_timeout=2,
        worker_send_task_events=False,
    )
    return app


class Doorbell:
    """Rings all workers from a thread of its own, so that no request waits for the broker."""

    def __init__(self, broker_url: str | None) -> None:
        self._celery = make_celery(broker_url) if broker_url else None
        self._asked, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, name="doorbell", daemon=True)
        self.is_reachable: bool | None = None
        """Whether the last ring got through; None before the first and without a broker."""
        if self._celery is not None:
            self._thread.start()

    def ring(self) -> None:
        """Wake the workers; returns at once and never fails."""
        self._asked.set()

    def close(self) -> None:
        """Ring once more, for what this process gave back, and end."""
        self._closing.set()
        self._asked.set()
        if self._celery is not None:
            self._thread.join(CLOSE_SECONDS)

    def _serve(self) -> None:
        is_last = False
        pause = PAUSE_SECONDS
        while not is_last:
            # A ring that nobody asked for wakes idle workers for nothing, and tells how it is.
            self._asked.wait(pause)
            self._asked.clear()
            is_last = self._closing.is_set()
            self._send()
            self._closing.wait(PAUSE_SECONDS)
            pause = LOOK_SECONDS

    def _send(self) -> None:
        if self._celery is None:
            return
        try:
            # Named and declared here: Celery would send to a queue that one worker empties.
            self._celery.send_task(
                TASK, exchange=QUEUE, routing_key=QUEUE, declare=[Exchange(QUEUE, type="fanout")],
                expires=EXPIRES_SECONDS, retry=False,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001  whatever the broker's trouble, SQL has the job
            log.warning("the broker is away, workers will find the run by polling: %s", error)
            self.is_reachable = False
        else:
            self.is_reachable = True
