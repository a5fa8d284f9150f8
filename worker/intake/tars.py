"""Tar archives, plain or compressed with gzip: regular files and folders, nothing else."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from stillhouse.errors import InputRejected
from worker.intake.archive import (
    FREE_EXPANSION_BYTES,
    MAX_ENTRIES,
    MAX_EXPANSION_RATIO,
    Archive,
    Entry,
    is_safe_name,
)
from worker.protocol import IntakeLimits

_CHUNK = 1 << 20


def read_directory(path: Path) -> Archive:
    """What a plain tar archive holds, without its folders, in the order of its bytes.

    Links, devices and names that leave the folder are refused as `archive_unsafe`, what
    can't be read as `archive_invalid`.
    """
    size = path.stat().st_size
    entries: dict[str, Entry] = {}
    try:
        with tarfile.open(path, mode="r:", errorlevel=2) as tar:
            for entry in _files(tar, size):
                if entry.name in entries:
                    raise _unsafe(f"'{entry.name}' is there twice")
                entries[entry.name] = entry
                if len(entries) > MAX_ENTRIES:
                    raise _unsafe(f"it has more than {MAX_ENTRIES} files")
            _check_end(path, tar.offset)
    except (tarfile.TarError, ValueError, OSError, EOFError, OverflowError) as error:
        raise InputRejected(
            "archive_invalid", f"The tar archive can't be read ({error}); write it again."
        ) from error
    return Archive(path, tuple(entries.values()))


def inflate(path: Path, target: Path, limits: IntakeLimits) -> None:
    """Decompress a gzip file, never beyond the bound.

    Args:
        path: the user's file.
        target: the file to write.
        limits: `decoded_bytes` bounds the size.

    Raises:
        InputRejected: `archive_bomb` or `archive_invalid`.
    """
    proportion = max(FREE_EXPANSION_BYTES, path.stat().st_size * MAX_EXPANSION_RATIO)
    left = min(proportion, limits["decoded_bytes"])
    try:
        with gzip.open(path, "rb") as source, target.open("wb") as sink:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise InputRejected(
                        "archive_bomb",
                        "The archive grows out of proportion; send less, or uncompressed.",
                    )
                sink.write(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise InputRejected(
            "archive_invalid", "The archive can't be decompressed; write it again."
        ) from error


def _files(tar: tarfile.TarFile, size: int) -> Iterator[Entry]:
    for member in tar:
        name = member.name.removeprefix("./").removesuffix("/")
        if member.isdir() and name in ("", "."):
            continue
        if not is_safe_name(name):
            raise _unsafe(f"the name {name[:100]!r} is not a plain relative path")
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            raise _unsafe(f"'{name}' is a link, a device or a sparse file")
        if member.size < 0 or member.offset_data + member.size > size:
            raise _unsafe(f"'{name}' reaches beyond the end of the archive")
        yield Entry(name, member.offset_data, member.size, member.size, deflated=False, crc=None)


def _check_end(path: Path, end: int) -> None:
    """The library stops without a word at a damaged header; a whole archive ends with zeros."""
    with path.open("rb") as file:
        file.seek(end)
        head = file.read(tarfile.BLOCKSIZE)
        is_zero = len(head) == tarfile.BLOCKSIZE and not any(head)
        while is_zero and (rest := file.read(_CHUNK)):
            is_zero = not any(rest)
    if not is_zero:
        raise tarfile.ReadError("it is cut or damaged in the middle")


def _unsafe(why: str) -> InputRejected:
    return InputRejected("archive_unsafe", f"The tar archive is not taken: {why}.")
