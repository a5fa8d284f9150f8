"""Intake as a child process with nothing to lose: no environment, no descriptors, no sockets.

    with sandbox.start(assignment, log=log) as intake:
        message = sandbox.finish(intake, timeout_seconds=600)

`finish` always has an answer, whatever the bytes did to the child. The child locks
itself in (`worker.intake.lockdown`), so that no code runs between fork and exec: the
supervisor has threads. This module imports no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from worker.protocol import (
    MESSAGE_FD_VARIABLE,
    PARENT_VARIABLE,
    IntakeAssignment,
    IntakeLimits,
    Message,
)

LIMITS = IntakeLimits(memory_bytes=6 << 30, cpu_seconds=1800, decoded_bytes=32 << 30)
TIMEOUT_SECONDS = 3600.0
MAX_MESSAGE_BYTES = 64 << 20  # 100,000 class names and ten small pictures stay far below
CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Intake:
    """A child at work."""

    process: subprocess.Popen[bytes]
    messages: int
    """The reading end of its message pipe."""


@contextlib.contextmanager
def start(assignment: IntakeAssignment, *, log: IO[bytes] | int) -> Iterator[Intake]:
    """Start the child; on leaving, it is gone and its descriptors are closed.

    Absent limits are filled in. The log, a file or a descriptor, gets the child's standard
    output and error.
    """
    reading, writing = os.pipe()
    try:
        intake = Intake(_spawn(assignment, writing=writing, log=log), reading)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        yield intake
    finally:
        kill(intake)
        intake.process.wait()
        os.close(reading)


def finish(intake: Intake, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Message:
    """The child's last word (`succeeded` or `failed`), or a `failed` that says how it died.

    Args:
        intake: the child; it is gone when this returns.
        timeout_seconds: wall-clock time it still has.

    Returns:
        What it reported. `kill` from another thread ends the wait.
    """
    said = _listen(intake, deadline=time.monotonic() + timeout_seconds)
    if said is None:
        kill(intake)
        intake.process.wait()
        return _failed("intake_timeout", f"It took longer than {timeout_seconds:.0f} seconds.")
    kill(intake)  # What is left of its process group; a message that was sent stands.
    status = intake.process.wait()
    return _last_message(said) or _how_it_died(status)


def kill(intake: Intake) -> None:
    """End the child and whatever it started. Harmless when it is gone."""
    if intake.process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(intake.process.pid, signal.SIGKILL)


def _spawn(
    assignment: IntakeAssignment, *, writing: int, log: IO[bytes] | int
) -> subprocess.Popen[bytes]:
    complete = assignment | {"limits": LIMITS | assignment["limits"]}
    process = subprocess.Popen(
        # Safe path, no user site, no bytecode: nothing is imported from the work folder.
        [sys.executable, "-P", "-s", "-B", "-m", "worker.intake"],
        cwd=assignment["work"],
        env=_environment(assignment["work"], writing),
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        pass_fds=(writing,),
        start_new_session=True,
    )
    stdin = cast("IO[bytes]", process.stdin)
    with contextlib.suppress(BrokenPipeError):  # It died already; its exit says why.
        stdin.write(json.dumps(complete).encode() + b"\n")
        stdin.close()
    return process


def _environment(work: str, writing: int) -> dict[str, str]:
    return {
        "HOME": work,
        "TMPDIR": work,
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        MESSAGE_FD_VARIABLE: str(writing),
        PARENT_VARIABLE: str(os.getpid()),
    }


def _listen(intake: Intake, *, deadline: float) -> bytes | None:
    """Everything it says until it closes the pipe; None when the time is over."""
    said = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(intake.messages, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(timeout=left):
                continue
            chunk = os.read(intake.messages, 1 << 16)
            if not chunk or len(said) > MAX_MESSAGE_BYTES:
                return bytes(said)
            said += chunk
    return None


def _last_message(said: bytes) -> Message | None:
    """The child parsed hostile bytes, so its words are checked for their shape too."""
    for line in reversed(said.splitlines()):
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict) and message.get("type") in ("succeeded", "failed"):
            return cast("Message", message)
    return None


def _how_it_died(status: int) -> Message:
    if status == -signal.SIGXCPU:
        return _failed("intake_timeout", "It used up its processor time; send less at once.")
    if status == -signal.SIGKILL:
        return _failed(
            "limit_exceeded", "It was killed, most likely for lack of memory; send less at once."
        )
    return _failed(
        "intake_failed", f"Intake ended with status {status} and said nothing; its log may say why."
    )


def _failed(code: str, detail: str) -> Message:
    return {"type": "failed", "code": code, "detail": detail, "field": None, "extra": {}}
