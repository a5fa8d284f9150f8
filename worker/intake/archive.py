"""Archives: names, places and sizes of the regular files inside, and their bytes.

Nothing is ever extracted to a path that the archive chose. `zips` and `tars` fill it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stillhouse.errors import InputRejected
from worker.protocol import IntakeLimits

MAX_ENTRIES = 1_000_000
MAX_NAME_BYTES = 4096
FREE_EXPANSION_BYTES = 64 << 20
MAX_EXPANSION_RATIO = 200  # deflate ends near 1032; sparse masks reach 100
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file inside an archive."""

    name: str
    offset: int
    """Where its stored bytes start in the archive."""
    stored_bytes: int
    bytes: int
    deflated: bool
    crc: int | None
    """CRC-32 of the content; None: the format has none."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A checked archive."""

    path: Path
    entries: tuple[Entry, ...]


def chunks(archive: Archive, entry: Entry) -> Iterator[bytes]:
    """The content of one entry, at most 1 MiB at a time and never more than it declares.

    Content that isn't what size and checksum say is refused as `archive_damaged`.
    """
    crc, length = 0, 0
    for chunk in _inflated(archive, entry) if entry.deflated else _stored(archive, entry):
        crc = zlib.crc32(chunk, crc)
        length += len(chunk)
        if length > entry.bytes:
            break
        yield chunk
    if length != entry.bytes or (entry.crc is not None and crc != entry.crc):
        raise InputRejected(
            "archive_damaged",
            f"'{entry.name}' is not what the archive's own size and checksum say; "
            "write the archive again.",
        )


def read(archive: Archive, entry: Entry) -> bytes:
    """The content of one entry. See `chunks`."""
    return b"".join(chunks(archive, entry))


def check_expansion(archive: Archive, limits: IntakeLimits) -> None:
    """Refuse an archive that says it grows out of proportion.

    Args:
        archive: what to look at.
        limits: `decoded_bytes` bounds the sum.

    Raises:
        InputRejected: `archive_bomb`.
    """
    expanded = sum(entry.bytes for entry in archive.entries)
    stored = sum(entry.stored_bytes for entry in archive.entries)
    bound = min(limits["decoded_bytes"], max(FREE_EXPANSION_BYTES, stored * MAX_EXPANSION_RATIO))
    if expanded > bound:
        raise InputRejected(
            "archive_bomb",
            f"The archive would grow from {stored} to {expanded} bytes, the bound is {bound}; "
            "send less at once, or store it without compression.",
        )


def is_safe_name(name: str) -> bool:
    """Whether a name is a plain relative path, the same on every system."""
    parts = name.split("/")
    return (
        0 < len(name.encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES
        and name.isprintable()
        and "\\" not in name
        and ":" not in parts[0]
        and not any(part in ("", ".", "..") for part in parts)
    )


def _stored(archive: Archive, entry: Entry) -> Iterator[bytes]:
    with archive.path.open("rb") as file:
        file.seek(entry.offset)
        left = entry.stored_bytes
        while left and (chunk := file.read(min(left, _CHUNK))):
            left -= len(chunk)
            yield chunk


def _inflated(archive: Archive, entry: Entry) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for stored in _stored(archive, entry):
            rest = stored
            while rest and not inflater.eof:
                yield inflater.decompress(rest, _CHUNK)
                rest = inflater.unconsumed_tail
        yield inflater.flush()
    except zlib.error as error:
        raise InputRejected(
            "archive_damaged", f"'{entry.name}' cannot be decompressed; write the archive again."
        ) from error
