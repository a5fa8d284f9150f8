"""`python -m app`: the API, and one worker beside it where no broker is configured."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import signal
import socket
from types import FrameType

import uvicorn

from app.main import create_app
from app.protocol import DeadlineProtocol
from app.worker_process import WorkerProcess
from core import logs, migrate
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
    migrate.upgrade(settings.database)
    worker = None if settings.broker_url else WorkerProcess()
    if worker is not None:
        worker.start()
    try:
        serve(settings, listening)
    except KeyboardInterrupt:
        log.info("stopped")
    finally:
        if worker is not None:
            worker.stop()
    return 0


def refuse_open_doors(settings: Settings) -> None:
    """Without keys the service listens to this machine only.

    Raises `ValueError` if it would listen to others, or if keys are asked for.
    """
    if settings.auth == "keys":
        message = "STILLHOUSE_AUTH=keys is not available yet"
        raise ValueError(message)
    if settings.host != "localhost" and not _is_loopback(settings.host):
        message = (
            f"STILLHOUSE_AUTH=off is allowed on loopback only, and STILLHOUSE_HOST is "
            f"{settings.host}: anybody who reaches that address could use the service"
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


def serve(settings: Settings, listening: socket.socket) -> None:
    """Run the API until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        create_app(settings),
        http=DeadlineProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    log.info("Stillhouse listens on http://%s:%d", *listening.getsockname()[:2])
    uvicorn.Server(config).run(sockets=[listening])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
