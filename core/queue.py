"""The doorbell: a Celery message over Redis that says "look into SQL". Nothing is lost with it.

A message carries no work. Workers look into SQL by themselves every few seconds;
that look is the outbox, so a dead or flushed broker costs that delay and no more.
"""

from __future__ import annotations

import logging
import queue as queues
import threading

from celery import Celery

TASK = "worker.look"
QUEUE = "stillhouse"
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
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"socket_connect_timeout": 2, "socket_keepalive": True},
        broker_connection_timeout=2,
        worker_send_task_events=False,
    )
    return app


class Doorbell:
    """Rings workers from a thread of its own, so that no request waits for the broker."""

    def __init__(self, broker_url: str | None) -> None:
        self._celery = make_celery(broker_url) if broker_url else None
        self._rings: queues.SimpleQueue[int] = queues.SimpleQueue()
        self.is_reachable: bool | None = None
        """Whether the last ring got through; None before the first and without a broker."""
        if self._celery is not None:
            threading.Thread(target=self._serve, name="doorbell", daemon=True).start()

    def ring(self, times: int = 1) -> None:
        """Wake up to this many workers; returns at once and never fails."""
        if self._celery is not None and times > 0:
            self._rings.put(times)

    def _serve(self) -> None:
        while True:
            times = self._rings.get()
            for _ in range(times):
                self._send()

    def _send(self) -> None:
        if self._celery is None:
            return
        try:
            self._celery.send_task(TASK, expires=EXPIRES_SECONDS, retry=False)
        except Exception as error:  # noqa: BLE001  whatever the broker's trouble, SQL has the job
            log.warning("the broker is away, workers will find the run by polling: %s", error)
            self.is_reachable = False
        else:
            self.is_reachable = True
