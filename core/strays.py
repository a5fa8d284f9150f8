"""Bytes in the storage that the books don't know, and whether the storage is another database's.

A service that is started with a wrong or an empty database finds a storage full of strangers.
They are somebody's, so nothing is deleted while most of what lies there is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice

from core import files
from core.db import Database
from core.storage import Storage

SAMPLE = 1000
ADVICE = (
    "Nothing unknown is deleted meanwhile. Name their database in STILLHOUSE_DATABASE_URL, restore "
    "its backup, or give this one a storage of its own in STILLHOUSE_STORAGE_URL."
)


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """How many files of a sample the books know."""

    known: int
    listed: int

    @property
    def is_slight(self) -> bool:
        """Fewer than half: this storage is hardly ours."""
        return 2 * self.known < self.listed

    def __str__(self) -> str:
        return f"The database knows {self.known} of {self.listed} files that lie in the storage"


def sample(database: Database, storage: Storage) -> Acquaintance:
    """Ask the books for some files; the first that are listed are any, since names are hashes.

    Raises `Unavailable` if the storage is away.
    """
    some = list(islice(chain.from_iterable(storage.names()), SAMPLE))
    with database.read() as session:
        return Acquaintance(known=len(files.known(session, some)), listed=len(some))


def note(database: Database, storage: Storage, *, before: float, until: float) -> None:
    """Enter what no book knows as needed by nobody.

    Args:
        database: the books.
        storage: the files.
        before: only what was last written before this time; younger ones may be on their way.
        until: they are left alone until this time.
    """
    for hashes in storage.names(before=before):
        with database.write() as session:
            files.note_strays(session, hashes, until=until)
