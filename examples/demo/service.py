"""The service as a child of the demo, on a free port, ended with everything it started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60
_STOP_SECONDS = 30


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Starts `python -m app` with its data in `folder`; yields its address.

    On the way out, however that comes, the service and all its descendants are gone.
    """
    port = _free_port()
    # A setting of the user's own service has no business here.
    inherited = {key: value for key, value in os.environ.items() if "STILLHOUSE" not in key}
    chosen = {
        "STILLHOUSE_DATA_DIR": str(folder / "data"),
        "STILLHOUSE_PORT": str(port),
        # Two threads that wait for each other after every small layer are slower than one as soon
        # as anything else runs on the machine: 64 ms a step against 14 on two busy cores.
        "STILLHOUSE_THREADS": "1",
    }
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app"],
            cwd=_ROOT,
            env=inherited | chosen,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends the service
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _await_ready(process, url, log=folder / "service.log")
        yield url
    finally:
        _end(process)


def _await_ready(process: subprocess.Popen[bytes], url: str, *, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with httpx.Client(base_url=url, trust_env=False, timeout=2) as http:
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if http.get("/readyz").is_success:
                    return
            threading.Event().wait(0.1)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise RuntimeError(f"The service didn't start; the end of {log}:\n{tail}")


def _end(process: subprocess.Popen[bytes]) -> None:
    # A second Ctrl-C must not leave half of it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        family = _descendants(process.pid)
        process.terminate()
        family |= _wait_or_kill(process)
        _kill_what_is_left(family)
    finally:
        signal.signal(signal.SIGINT, before)


def _wait_or_kill(process: subprocess.Popen[bytes]) -> dict[int, str]:
    """Waits for the end; the descendants of a service that had to be killed are its orphans."""
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        orphans = _descendants(process.pid)
        process.kill()
        process.wait()
        return orphans
    return {}


def _kill_what_is_left(family: dict[int, str]) -> None:
    table = _table()
    for pid, started in family.items():
        if table.get(pid, (0, ""))[1] == started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> dict[int, str]:
    """The processes below `pid`, each with the time it started: a pid may be given out again."""
    table, edge = _table(), {pid}
    found: dict[int, str] = {}
    while edge:
        edge = {child for child, (parent, _) in table.items() if parent in edge}
        found |= {child: table[child][1] for child in edge}
    return found


def _table() -> dict[int, tuple[int, str]]:
    """Parent and start time of each process; empty where there is no /proc."""
    found: dict[int, tuple[int, str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold anything; the numbers follow its end.
            fields = stat.read_text().rpartition(")")[2].split()
            found[int(stat.parent.name)] = (int(fields[1]), fields[19])
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
