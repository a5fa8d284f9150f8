"""A worker's name: stable over restarts, so that a new start can free what the old one held."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from core.settings import Settings
from stillhouse.errors import Unavailable

MAX_SLOTS = 256
MAX_BASE = 100  # of the 128 characters that a name may have


@dataclass(frozen=True, slots=True)
class Identity:
    """A name that nobody else holds while this process lives."""

    name: str
    is_only_worker: bool
    """Whether it has the first slot of this data folder."""
    lock: int
    """An open descriptor; the kernel drops the lock when the process ends, however."""


def take(settings: Settings) -> Identity:
    """The first free name of this data folder.

    Raises `Unavailable` if all are taken.
    """
    folder = lock_folder(settings)
    base = _base(folder, settings.worker_name)
    for slot in range(MAX_SLOTS):
        held = lock(folder / f"worker-{slot}.lock")
        if held is not None:
            return Identity(name=f"{base}#{slot}", is_only_worker=slot == 0, lock=held)
    raise Unavailable(f"{MAX_SLOTS} workers already run over {folder}.")


def lock_folder(settings: Settings) -> Path:
    """Where the workers that share a data folder keep out of each other's way."""
    folder = settings.data_dir.resolve() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def lock(path: Path) -> int | None:
    """A descriptor that holds this file's lock while it's open; None if another process does."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _base(folder: Path, wanted: str | None) -> str:
    """A name for this folder's workers that those of no other folder have.

    Whoever starts under a name frees what it held, so two machines that were given the same name
    must not share it; and a container that was made anew has another host name, but its folder.
    """
    with (folder / "name").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = file.read().strip()
        if not known:
            known = f"{socket.gethostname()[:MAX_BASE]}-{secrets.token_hex(4)}"
            file.write(known)
    own = known.rpartition("-")[2]
    return f"{wanted[:MAX_BASE]}-{own}" if wanted else known
