"""The files that a run reads: named while it is assigned, brought when the transaction is over."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from core import storage as storage_module
from core.storage import Gone, Storage
from core.tables import Checkpoint
from stillhouse.errors import InputRejected


class Inputs:
    """What one claim needs, in a folder that its children may only read."""

    def __init__(self, storage: Storage, folder: Path) -> None:
        self._storage = storage
        self._folder = folder
        self._wanted: dict[str, None] = {}

    def path(self, sha256: str) -> str:
        """Where a file will lie after `bring`."""
        self._wanted[sha256] = None
        return str(self._storage.place(sha256, self._folder))

    def bring(self) -> None:
        """Fetch what was named; `InputRejected` (`file_missing`) if the storage lost it."""
        for sha256 in self._wanted:
            try:
                self._storage.fetch(sha256, self._folder)
            except Gone as error:
                raise InputRejected(
                    "file_missing",
                    f"The storage has lost {sha256}; restore it from a backup, or send the input "
                    "again.",
                ) from error

    def newest(self, checkpoints: Iterable[Checkpoint]) -> tuple[Path | None, int]:
        """The first checkpoint whose bytes are what its row says, and how many before weren't."""
        corrupt = 0
        for row in checkpoints:
            try:
                self._storage.fetch(row.sha256, self._folder)
            except Gone:
                corrupt += 1
                continue
            path = self._storage.place(row.sha256, self._folder)
            if storage_module.digest(path)[0] == row.sha256:
                return path, corrupt
            corrupt += 1
        return None, corrupt
