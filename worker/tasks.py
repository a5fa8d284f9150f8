"""The Celery message handler: it rings, nothing else."""

from __future__ import annotations

from celery import Celery

from core.queue import TASK
from worker.supervisor import Supervisor


def register(app: Celery, supervisor: Supervisor) -> None:
    """Let hints wake this supervisor."""

    @app.task(name=TASK, ignore_result=True, acks_late=False)
    def look() -> None:
        supervisor.wake()
