"""A worker's name: stable over restarts, so that a new start can free what the old one held."""

from __future__ import annotations

import fcntl
import os
import socket
from dataclasses import dataclass

from core.settings import Settings

MAX_SLOTS = 256


@dataclass(frozen=True, slots=True)
class Identity:
    """A name that nobody else on this machine holds while this process lives."""

    name: str
    is_only_worker: bool
    """Whether it has the first slot of this data folder."""
    lock: int
    """An open descriptor; the kernel drops the lock when the process ends, however."""


def take(settings: Settings) -> Identity:
    """The first free name of this data folder.

    Raises `RuntimeError` if all are taken.
    """
    base = settings.worker_name or f"{socket.gethostname()}:{settings.data_dir.resolve()}"
    folder = settings.data_dir.resolve() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    for slot in range(MAX_SLOTS):
        descriptor = os.open(folder / f"worker-{slot}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        name = base if slot == 0 else f"{base}#{slot}"
        return Identity(name=name[-128:], is_only_worker=slot == 0, lock=descriptor)
    message = f"{MAX_SLOTS} workers already run over {folder}"
    raise RuntimeError(message)
