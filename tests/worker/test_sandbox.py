"""The child itself: what it may do, how it ends, and what is said of it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from worker import sandbox
from worker.protocol import MESSAGE_FD_VARIABLE, PARENT_VARIABLE, IntakeAssignment, Message

SPEC = {"name": "d", "source": {"blob": "0" * 64}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A dataset that is fine."""
    path = tmp_path / "data.npz"
    x = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    np.savez(path, x=x, y=np.arange(60) % 3)
    return path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def assign(source: Path, work: Path, **changes: Any) -> IntakeAssignment:
    whole = IntakeAssignment(
        type="intake",
        kind="dataset",
        spec=SPEC,
        sources={"source": str(source)},
        work=str(work),
        limits={},
    )
    return cast("IntakeAssignment", {**whole, **changes})


@contextlib.contextmanager
def started(assignment: IntakeAssignment, log: Path) -> Iterator[sandbox.Intake]:
    with log.open("wb") as file, sandbox.start(assignment, log=file) as intake:
        yield intake


def take(assignment: IntakeAssignment, **options: Any) -> Message:
    log = Path(assignment["work"]).with_suffix(".log")
    with started(assignment, log) as intake:
        return sandbox.finish(intake, **options)


def test_a_dataset_goes_through_the_child(source: Path, work: Path) -> None:
    message = take(assign(source, work))
    assert message["type"] == "succeeded"
    assert message["result"]["rows"]["train"] == 42
    for file in message["files"]:
        assert Path(file["file"]).stat().st_size == file["bytes"]


def test_a_refusal_comes_back_whole(source: Path, work: Path) -> None:
    message = take(assign(source, work, spec=SPEC | {"classes": ["a", "b"]}))
    assert message["type"] == "failed"
    assert message["code"] == "label_out_of_range"
    assert message["field"] == "classes"


def test_too_little_memory_is_a_refusal_too(source: Path, work: Path) -> None:
    np.savez(source, x=np.zeros((30_000, 40, 40), np.uint8), y=np.arange(30_000))
    message = take(assign(source, work, limits={"memory_bytes": 1 << 20}))
    assert message["code"] in ("limit_exceeded", "intake_failed")


def test_a_child_that_takes_too_long_is_killed(source: Path, work: Path) -> None:
    fifo = source.with_name("never")
    os.mkfifo(fifo)  # Opening it waits for a writer, who never comes.
    message = take(assign(fifo, work), timeout_seconds=1.5)
    assert message["code"] == "intake_timeout"


def test_a_child_can_be_killed_from_outside(source: Path, work: Path) -> None:
    fifo = source.with_name("never")
    os.mkfifo(fifo)
    with started(assign(fifo, work), work.with_suffix(".log")) as intake:
        threading.Timer(0.2, sandbox.kill, [intake]).start()
        message = sandbox.finish(intake)
    assert message["type"] == "failed"
    assert intake.process.returncode == -9


def test_a_child_that_says_nothing_is_said_to_have_failed(source: Path, work: Path) -> None:
    message = take(assign(source, work, kind="nonsense"))
    assert message["code"] == "intake_failed"
    assert "Traceback" in work.with_suffix(".log").read_text()


def test_an_unreadable_source_has_an_answer(source: Path, work: Path) -> None:
    message = take(assign(source.with_name("absent"), work))
    assert message["code"] == "intake_failed"


PROBE = """
import ctypes, json, os, resource, socket, subprocess, sys, threading
from pathlib import Path
from worker.intake import lockdown

work, secret = Path(sys.argv[1]), sys.argv[2]
lockdown.confine_files(work, [])
lockdown.close_doors(work, {"memory_bytes": 64 << 20, "cpu_seconds": 60, "decoded_bytes": 1 << 20})
libc = ctypes.CDLL(None, use_errno=True)

def attempt(call):
    try:
        return call()
    except (OSError, MemoryError, ValueError) as error:
        return type(error).__name__

def thread():
    seen = []
    worker = threading.Thread(target=seen.append, args=(1,))
    worker.start()
    worker.join()
    return seen

print(json.dumps({
    "python": {
        "socket": attempt(socket.socket),
        "program": attempt(lambda: subprocess.run(["/bin/true"])),
        "shell": attempt(lambda: os.system("true")),
        "fork": attempt(os.fork),
        "write": attempt(lambda: open(secret + ".new", "w")),
        "rename": attempt(lambda: os.rename(secret, secret + ".new")),
    },
    "kernel": {
        "socket": libc.socket(2, 1, 0),
        "fork": libc.fork(),
        "program": libc.execv(b"/bin/true", None),
        "signal": libc.kill(os.getppid(), 0),
        "limit": libc.setrlimit(7, ctypes.byref((ctypes.c_ulong * 2)(9999, 9999))),
        "read": libc.open(secret.encode(), os.O_RDONLY),
        "write": libc.open((secret + ".new").encode(), os.O_WRONLY | os.O_CREAT, 0o600),
    },
    "memory": attempt(lambda: len(bytearray(256 << 20))),
    "thread": attempt(thread),
    "inside": attempt(lambda: (work / "file").write_text("x")),
    "limits": resource.getrlimit(resource.RLIMIT_CORE),
}))
"""


def test_a_locked_process_reaches_nothing_outside_its_folder(tmp_path: Path, work: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROBE, str(work), str(secret)],
        env={"PYTHONPATH": str(sandbox.CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert set(found["python"].values()) == {"PermissionError"}
    if "no seccomp" not in done.stderr:
        kept = {k: v for k, v in found["kernel"].items() if k not in ("read", "write")}
        assert set(kept.values()) == {-1}
    landlock_version = ctypes.CDLL(None).syscall(444, None, 0, 1)
    if landlock_version >= 1:
        assert found["kernel"]["read"] == found["kernel"]["write"] == -1
    assert found["memory"] == "MemoryError"
    assert found["thread"] == [1]
    assert found["inside"] == 1
    assert found["limits"] == [0, 0]


def test_the_environment_of_the_child_names_nothing_of_ours() -> None:
    os.environ["STILLHOUSE_DATABASE_URL"] = "postgresql://user:password@host/db"
    try:
        environment = sandbox._environment("/work", 3)
    finally:
        del os.environ["STILLHOUSE_DATABASE_URL"]
    ours = {name for name in environment if name.startswith("STILLHOUSE")}
    assert ours == {MESSAGE_FD_VARIABLE, PARENT_VARIABLE}


def test_only_a_verdict_counts_as_a_message() -> None:
    said = b'{"type": "progress"}\nnoise\n{"type": "failed", "code": "x"}\n[1]\n'
    message = sandbox._last_message(said)
    assert message is not None
    assert message["code"] == "x"
    assert sandbox._last_message(b'{"type": "ready"}\n\xff\n') is None
