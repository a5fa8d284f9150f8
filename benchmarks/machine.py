"""What was measured on: processor, memory, versions, and how busy it was."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
from pathlib import Path

_PACKAGES = ("torch", "timm", "numpy", "fastapi", "uvicorn", "uvloop", "sqlalchemy", "psycopg")


def describe() -> str:
    """A few lines for the head of a report."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    lines = [
        f"{os.cpu_count()} cores ({_processor()}), {_memory_gib():.0f} GiB of memory",
        f"Linux {platform.release()}, Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}, {versions}",
        f"load average before: {_load()}",
    ]
    return "\n".join(lines)


def _load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
