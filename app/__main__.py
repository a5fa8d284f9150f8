"""`python -m app`: the API, and one worker beside it where no broker is configured."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import signal
import socket
import subprocess
import sys
import threading
from types import FrameType

import uvicorn
from pydantic import ValidationError

from app.main import create_app
from app.protocol import DeadlineProtocol
from core import migrate
from core import settings as settings_module
from core.settings import Settings

log = logging.getLogger("stillhouse")

RESTART_SECONDS = 2.0
STOP_SECONDS = 60.0


def main() -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="The Stillhouse API, with one worker when no broker is configured.",
        epilog="Settings, from the environment:\n\n" + settings_module.describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    try:
        settings = settings_module.load()
        refuse_open_doors(settings)
        listening = listen(settings)
    except ValidationError as error:
        return _refuse(settings_module.explain(error))
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
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


class WorkerProcess:
    """The worker beside the API: started again when it dies, ended with the API.

    Its standard input is a pipe from here: when this process dies, however, the
    pipe closes and the worker ends its trainer and itself.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="worker-keeper", daemon=True)

    def start(self) -> None:
        """Start it and keep it running."""
        self._spawn()
        self._thread.start()

    def stop(self) -> None:
        """Let it write a checkpoint and end."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _spawn(self) -> None:
        command = [sys.executable, "-m", "worker.main", "--beside-api"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            process = self._process
            if process is not None:
                process.wait()
            if self._stopping.wait(RESTART_SECONDS):
                return
            log.warning("the worker ended; starting it again")
            self._spawn()


def _refuse(reason: str) -> int:
    sys.stderr.write(f"stillhouse: {reason}\n")
    return 2


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())
