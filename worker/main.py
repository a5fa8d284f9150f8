"""`python -m worker.main`: one worker for one device, woken by its clock or through Celery."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from celery import signals
from pydantic import ValidationError

from core import logs, migrate
from core.db import Database
from core.queue import make_celery
from core.settings import explain, load
from stillhouse.errors import Unavailable
from worker import tasks
from worker.supervisor import Supervisor

log = logging.getLogger("stillhouse.worker")

STOP_SECONDS = 90.0


def main() -> int:
    """Work until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m worker.main", description=__doc__)
    parser.add_argument(
        "--beside-api",
        action="store_true",
        help="end when standard input closes (the API that started this worker is gone)",
    )
    arguments = parser.parse_args()
    try:
        settings = load()
    except ValidationError as error:
        return _refuse(explain(error))
    logs.configure(settings)
    if arguments.beside_api:
        threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    try:
        _wait_for_database(settings.database)
        supervisor = Supervisor(settings)
    except (Unavailable, ValueError, OSError) as error:
        return _refuse(str(error))
    if settings.broker_url is None:
        _serve_alone(supervisor)
    else:
        _serve_with_celery(supervisor, settings.broker_url)
    return 0


def _refuse(reason: str) -> int:
    sys.stderr.write(f"stillhouse: {reason}\n")
    return 2


def _wait_for_database(url: str) -> None:
    """Nothing is held yet, so that a SIGTERM ends it at once."""
    signal.signal(signal.SIGTERM, _exit)
    database = Database(url)
    try:
        migrate.wait(database)
    finally:
        database.close()


def _exit(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _serve_alone(supervisor: Supervisor) -> None:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        supervisor.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    supervisor.serve()


def _serve_with_celery(supervisor: Supervisor, broker_url: str) -> None:
    """Celery owns the main thread and its signals; the supervisor works beside it."""
    app = make_celery(broker_url)
    signals.setup_logging.connect(_keep_our_logging)
    tasks.register(app, supervisor)

    def serve() -> None:
        try:
            supervisor.serve()
        except BaseException:
            # A Celery worker without its supervisor would look alive and do nothing.
            log.exception("the supervisor ended")
            os._exit(1)

    serving = threading.Thread(target=serve, name="supervisor")
    serving.start()
    try:
        app.worker_main([
            "--quiet", "worker",
            # Threads, not prefork: prefork's children may have no children of their own.
            "--pool=threads", "--concurrency=1", "--loglevel=WARNING",
            "--without-gossip", "--without-mingle", "--without-heartbeat",
        ])  # fmt: skip
    finally:
        supervisor.stop()
        serving.join(STOP_SECONDS)


def _keep_our_logging(**_said: Any) -> None:
    """Whoever answers this signal has set logging up; without an answer Celery does it anew."""
    logging.getLogger("celery").setLevel(logging.WARNING)  # a hint is not worth a line


def _end_with_parent() -> None:
    """End at once when the parent does; the trainer ends with us, and the lease is found."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
