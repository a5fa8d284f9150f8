"""The worker beside the API, where no broker is configured."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading

log = logging.getLogger("stillhouse")

RESTART_SECONDS = 2.0
STOP_SECONDS = 60.0


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
        """Start it and keep it running, unless it was stopped already."""
        if self._stopping.is_set():
            return
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
