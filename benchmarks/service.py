"""The API alone, over a database that a benchmark has filled: nobody claims what is in it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests import servers, waiting

# A broker's address keeps `python -m app` from starting a worker. Nobody listens there, and
# nothing is sent: a hint goes out with a POST, and these benchmarks only read.
_NO_BROKER = "redis://127.0.0.1:9/0"
_START_SECONDS = 60.0


@contextlib.contextmanager
def api(database_url: str) -> Iterator[int]:
    """Start it and wait until it's ready; its port."""
    port = servers.free_port()
    with tempfile.TemporaryDirectory(prefix="api") as folder:
        settings = {
            "STILLHOUSE_DATA_DIR": folder,
            "STILLHOUSE_PORT": str(port),
            "STILLHOUSE_DATABASE_URL": database_url,
            "STILLHOUSE_BROKER_URL": _NO_BROKER,
        }
        with (Path(folder) / "api.out").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "app"],
                cwd=servers.CHECKOUT,
                env=os.environ | settings,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            waiting.until(lambda: _is_ready(port), seconds=_START_SECONDS, what="readiness")
            yield port
        finally:
            process.terminate()
            process.wait()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
