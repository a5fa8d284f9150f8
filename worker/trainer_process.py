"""The trainer as a child: started ahead of work, spoken to over pipes, ended as a group.

A trainer that ended a run cleanly takes the next one; one that failed, was cancelled or
died is replaced, since a CUDA error, a leak or a broken allocator outlives the run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from worker.protocol import MESSAGE_FD_VARIABLE, Message

log = logging.getLogger(__name__)

CHECKOUT = Path(__file__).resolve().parents[1]
START_AGAIN_SECONDS = 10.0
MAX_LOG_BYTES = 256 * 1024  # kept between two beats; what is beyond is counted, not kept
# What CUDA and a dynamic linker may need; nothing else of the environment reaches a trainer.
PASSED_ON = ("PATH", "LANG", "HOME", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME")


class TrainerProcess:
    """One child. Its messages arrive in a queue; None says that it's gone.

    `visible` is the GPU that it sees, "" for none; None leaves it what this process sees.
    """

    def __init__(
        self, *, threads: int, on_ready: Callable[[], None], visible: str | None = None
    ) -> None:
        self._on_ready = on_ready
        reading, writing = os.pipe()
        self.messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.ready: Message | None = None
        self._log = bytearray()
        self._dropped = 0
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker.trainer"],
            cwd=CHECKOUT,
            env=environment(threads=threads, writing=writing, visible=visible),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        for name, target, argument in (
            ("trainer-messages", self._read_messages, reading),
            ("trainer-log", self._read_log, self._process.stdout),
        ):
            threading.Thread(target=target, args=(argument,), name=name, daemon=True).start()

    def send(self, message: Any) -> None:
        """Hand over an assignment or a "stop"; a child that is gone is noticed elsewhere."""
        stdin = cast("IO[bytes]", self._process.stdin)
        with contextlib.suppress(BrokenPipeError, ValueError):
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()

    def take_log(self) -> str:
        """What it printed since the last call."""
        with self._lock:
            text = self._log.decode(errors="replace")
            if self._dropped:
                text += f"\n[{self._dropped} bytes of output were dropped]\n"
            self._log.clear()
            self._dropped = 0
        return text

    def kill(self) -> None:
        """End it and all that it started; returns when it's gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def how_it_ended(self) -> str:
        """A sentence about its end."""
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "The trainer was killed (signal 9), as the kernel does when memory is short."
        if code < 0:
            return f"The trainer died of signal {-code} ({signal.Signals(-code).name})."
        return f"The trainer ended with status {code} in the middle of a run."

    def _read_messages(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    message = cast("Message", json.loads(line))
                    if message.get("type") == "ready":
                        self.ready = message
                        self._on_ready()
                    self.messages.put(message)
        self.messages.put(None)

    def _read_log(self, stream: IO[bytes]) -> None:
        while chunk := os.read(stream.fileno(), 65_536):
            with self._lock:
                room = max(MAX_LOG_BYTES - len(self._log), 0)
                self._log += chunk[:room]
                self._dropped += len(chunk[room:])


class Spare:
    """Keeps one trainer warm, so that a run starts without waiting for imports."""

    def __init__(
        self, *, threads: int, on_ready: Callable[[], None], visible: str | None = None
    ) -> None:
        self._start = partial(TrainerProcess, threads=threads, visible=visible, on_ready=on_ready)
        self._trainer: TrainerProcess | None = None
        self._not_before = 0.0
        self.facts: dict[str, Any] = {}
        """What the last trainer that started said of device and networks."""

    def is_ready(self) -> bool:
        """Whether the warm trainer has started; sees to it that one is on its way."""
        trainer = self._trainer
        if trainer is not None and trainer.is_alive:
            if trainer.ready is None:
                return False
            self.facts = trainer.ready.get("extra", {})
            return True
        if trainer is not None and trainer.ready is None:
            log.error("the trainer can't start; it said:\n%s", trainer.take_log())
            self._not_before = time.monotonic() + START_AGAIN_SECONDS
            self.facts = {}
        self._trainer = None
        if time.monotonic() >= self._not_before:
            self._trainer = self._start()
        return False

    def take(self) -> TrainerProcess:
        """The warm one, now the caller's."""
        trainer = self._trainer or self._start()
        self._trainer = None
        return trainer

    def put_back(self, trainer: TrainerProcess) -> None:
        """Keep a trainer that ended its run cleanly."""
        if self._trainer is None:
            self._trainer = trainer
        else:
            trainer.kill()

    def close(self) -> None:
        """End the warm one."""
        if self._trainer is not None:
            self._trainer.kill()


def environment(*, threads: int, writing: int, visible: str | None) -> dict[str, str]:
    """What a trainer's environment is: none of ours but what it needs."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if visible is not None:
        passed["CUDA_VISIBLE_DEVICES"] = visible
    return passed | {
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic cuBLAS must be asked for at start
        MESSAGE_FD_VARIABLE: str(writing),
    }
