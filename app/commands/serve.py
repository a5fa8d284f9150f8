"""`python -m app`: the API, and one worker beside it where no broker is configured."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import signal
import socket
import threading
from types import FrameType

import uvicorn
from sqlalchemy.exc import DBAPIError

from app import first_keys
from app.main import create_app
from app.protocol import DeadlineProtocol
from app.worker_process import WorkerProcess
from core import logs, migrate
from core.db import trouble
from core.settings import Settings

log = logging.getLogger("stillhouse")


def add(parser: argparse.ArgumentParser) -> None:
    """It has no options."""
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace, settings: Settings) -> int:
    """Serve until told to stop.

    Raises `ValueError` or `OSError`, with advice, if it can't begin.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    refuse_open_doors(settings)
    listening = listen(settings)
    logs.configure(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    for root in settings.roots:
        root.mkdir(parents=True, exist_ok=True)
    worker = None if settings.broker_url else WorkerProcess()
    try:
        serve(settings, listening, worker)
    except KeyboardInterrupt:
        log.info("stopped")
    finally:
        if worker is not None:
            worker.stop()
    return 0


def refuse_open_doors(settings: Settings) -> None:
    """Without keys the service listens to this machine only.

    Raises `ValueError` if it would listen to others.
    """
    if settings.auth == "keys" or settings.host == "localhost" or _is_loopback(settings.host):
        return
    message = (
        f"STILLHOUSE_AUTH=off is allowed on loopback only, and STILLHOUSE_HOST is "
        f"{settings.host}: anybody who reaches that address could use the service; "
        "set STILLHOUSE_AUTH=keys"
    )
    raise ValueError(message)


def listen(settings: Settings) -> socket.socket:
    """Take the port before anything is touched; one that is taken is an `OSError` with advice."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        message = (
            f"can't listen on {settings.host}:{settings.port} ({error.strerror}); end what uses "
            "it, or set STILLHOUSE_PORT"
        )
        raise OSError(message) from error
    return listening


def serve(settings: Settings, listening: socket.socket, worker: WorkerProcess | None) -> None:
    """Run the API until SIGTERM or SIGINT.

    It answers at once, with 503 until the database is there and migrated. Raises what kept it
    from being prepared.
    """
    prepared = threading.Event()
    config = uvicorn.Config(
        create_app(settings, prepared=prepared),
        http=DeadlineProtocol,
        # Whoever may say whose request it is must be named; uvicorn would believe any neighbour.
        proxy_headers="FORWARDED_ALLOW_IPS" in os.environ,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    log.info("Stillhouse listens on http://%s:%d", *listening.getsockname()[:2])
    server, failures = uvicorn.Server(config), list[Exception]()

    def begin() -> None:
        try:
            prepare(settings)
        except Exception as error:  # noqa: BLE001  whatever it is, the main thread raises it
            failures.append(error)
            server.should_exit = True
            return
        prepared.set()
        if worker is not None:
            worker.start()

    threading.Thread(target=begin, name="preparation", daemon=True).start()
    server.run(sockets=[listening])
    if failures:
        raise failures[0]


def prepare(settings: Settings) -> None:
    """Wait for the database, migrate it, and see that somebody can come in."""
    while True:
        migrate.upgrade(settings.database)
        try:
            if settings.auth == "keys":
                first_keys.let_in(settings)
        except DBAPIError as error:
            if trouble(error) != "away":
                raise
            log.warning("the database went away: %s", error.orig)
        else:
            return


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
