"""Zip archives, read strictly: one way to understand the bytes, or none.

Central and local headers must say the same, entries must not overlap, nothing stands
before or after. Lenient readers disagree on everything else, and attacks live there
(CVE-2024-0450, CVE-2025-1945, CVE-2025-10156).
"""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stillhouse.errors import InputRejected
from worker.intake.archive import MAX_ENTRIES, Archive, Entry, is_safe_name

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_DESCRIPTOR_FOLLOWS = 1 << 3
_UTF8 = 1 << 11
_ALL_ONES = 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8
_MAX_DIRECTORY_BYTES = 256 << 20


class _Broken(Exception):
    """A rule that the archive breaks."""


class _Unsafe(_Broken):
    """A rule against escaping the folder or hiding content."""


@dataclass(frozen=True, slots=True)
class _End:
    entries: int
    directory_bytes: int
    directory: int
    """Where the central directory starts; it must reach up to the end records."""


@dataclass(frozen=True, slots=True)
class _Header:
    """One record of the central directory."""

    name: bytes
    flags: int
    method: int
    crc: int
    stored_bytes: int
    bytes: int
    local: int
    mode: int


def read_directory(path: Path, *, unsafe_code: str = "zip_invalid") -> Archive:
    """What an archive holds, without its folders.

    Args:
        path: a zip archive.
        unsafe_code: the code for names that leave the folder, links and encryption.

    Returns:
        Its files in the order of their bytes.

    Raises:
        InputRejected: `zip_invalid` or `unsafe_code`; the detail says which rule is broken.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            end = _find_end(file, size)
            headers = _central(file, end)
            headers.sort(key=lambda header: header.local)
            entries = _entries(file, headers, limit=end.directory)
    except (_Broken, struct.error) as broken:
        code = unsafe_code if isinstance(broken, _Unsafe) else "zip_invalid"
        raise InputRejected(
            code, f"The zip archive is not sound: {broken}; write it again."
        ) from broken
    return Archive(path, entries)


def _find_end(file: BinaryIO, size: int) -> _End:
    file.seek(max(0, size - _END.size - 0xFFFF))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0 and not _reaches_the_end(tail, at):
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if at < 0:
        raise _Broken("it has no end record, so it is truncated or something follows it")
    _, disk, first_disk, here, total, length, offset, _ = _END.unpack_from(tail, at)
    start = size - len(tail) + at
    end = _End(total, length, offset)
    if (disk, first_disk) not in ((0, 0), (0xFFFF, 0xFFFF)) or here != total:
        raise _Broken("it spans several disks")
    end64 = _find_end64(file, start)
    if end64 is not None:
        end, start = _agreeing(end, end64[0]), end64[1]
    if end.directory + end.directory_bytes != start:
        raise _Broken("its directory does not end where its end record starts")
    return end


def _reaches_the_end(tail: bytes, at: int) -> bool:
    if at + _END.size > len(tail):
        return False
    comment = int.from_bytes(tail[at + 20 : at + 22], "little")
    return at + _END.size + comment == len(tail)


def _find_end64(file: BinaryIO, end: int) -> tuple[_End, int] | None:
    if end < _LOCATOR64.size:
        return None
    file.seek(end - _LOCATOR64.size)
    signature, disk, at, disks = _LOCATOR64.unpack(file.read(_LOCATOR64.size))
    if signature != b"PK\x06\x07":
        return None
    if disk != 0 or disks != 1 or at + _END64.size != end - _LOCATOR64.size:
        raise _Broken("its zip64 locator points elsewhere")
    file.seek(at)
    signature, length, _, _, disk, first_disk, here, total, directory_bytes, directory = (
        _END64.unpack(file.read(_END64.size))
    )
    if signature != b"PK\x06\x06" or length != _END64.size - 12 or here != total:
        raise _Broken("its zip64 end record is malformed")
    if disk or first_disk:
        raise _Broken("it spans several disks")
    return _End(total, directory_bytes, directory), at


def _agreeing(end: _End, end64: _End) -> _End:
    said = (end.entries, end.directory_bytes, end.directory)
    meant = (end64.entries, end64.directory_bytes, end64.directory)
    for short, long, ones in zip(said, meant, (0xFFFF, _ALL_ONES, _ALL_ONES), strict=True):
        if short not in (long, ones):
            raise _Broken("its two end records disagree")
    return end64


def _central(file: BinaryIO, end: _End) -> list[_Header]:
    if end.entries > MAX_ENTRIES or end.directory_bytes > _MAX_DIRECTORY_BYTES:
        raise _Broken(f"it has more than {MAX_ENTRIES} entries")
    file.seek(end.directory)
    directory = file.read(end.directory_bytes)
    headers, at = [], 0
    for _ in range(end.entries):
        header, at = _central_record(directory, at)
        headers.append(header)
    if at != len(directory):
        raise _Broken("its directory holds more than its entries")
    return headers


def _central_record(directory: bytes, at: int) -> tuple[_Header, int]:
    (signature, _, _, flags, method, _, _, crc, stored, size, name_bytes, extra_bytes,
     comment_bytes, disk, _, attributes, local) = _CENTRAL.unpack_from(directory, at)  # fmt: skip
    if signature != b"PK\x01\x02":
        raise _Broken("its directory is malformed")
    name_at = at + _CENTRAL.size
    name = directory[name_at : name_at + name_bytes]
    extra = directory[name_at + name_bytes : name_at + name_bytes + extra_bytes]
    size, stored, local = _wide(extra, [size, stored, local])
    if disk not in (0, 0xFFFF):
        raise _Broken("it spans several disks")
    header = _Header(name, flags, method, crc, stored, size, local, attributes >> 16)
    return header, name_at + name_bytes + extra_bytes + comment_bytes


def _wide(extra: bytes, values: list[int]) -> list[int]:
    """The values of a record, those of all ones replaced by what its zip64 field says."""
    if _ALL_ONES not in values:
        return values
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            wide = iter(struct.unpack(f"<{length // 8}Q", extra[at + 4 :][: length // 8 * 8]))
            try:
                return [next(wide) if value == _ALL_ONES else value for value in values]
            except (StopIteration, RuntimeError) as error:
                raise _Broken("a zip64 field is too short") from error
        at += 4 + length
    return values


def _entries(file: BinaryIO, headers: list[_Header], *, limit: int) -> tuple[Entry, ...]:
    entries, names, free = [], set[str](), 0
    for header in headers:
        name = _name(header)
        if name in names:
            raise _Unsafe(f"'{name}' is there twice")
        names.add(name)
        if free == 0 and header.local != 0:
            raise _Broken("something stands before its first entry")
        if header.local < free:
            raise _Broken(f"'{name}' overlaps the entry before")
        offset = _data_offset(file, header, name)
        free = offset + header.stored_bytes
        if free > limit:
            raise _Broken(f"'{name}' reaches beyond the directory")
        if header.name.endswith(b"/"):
            continue
        deflated = header.method == _DEFLATED
        size = header.bytes
        entries.append(Entry(name, offset, header.stored_bytes, size, deflated, header.crc))
    return tuple(entries)


def _name(header: _Header) -> str:
    try:
        name = header.name.decode("utf-8" if header.flags & _UTF8 else "cp437")
        if not header.flags & _UTF8:
            name = header.name.decode("utf-8")  # What most writers mean, whatever they flag.
    except UnicodeDecodeError:
        name = header.name.decode("cp437")
    if not is_safe_name(name.removesuffix("/")):
        raise _Unsafe(f"the name {name[:100]!r} is not a plain relative path")
    if stat.S_IFMT(header.mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _Unsafe(f"'{name}' is a link or a device")
    if header.flags & _ENCRYPTED:
        raise _Unsafe(f"'{name}' is encrypted")
    if header.method not in (_STORED, _DEFLATED):
        raise _Broken(f"'{name}' uses compression method {header.method}, not deflate")
    if header.method == _STORED and header.stored_bytes != header.bytes:
        raise _Broken(f"'{name}' is stored and has two sizes")
    if name.endswith("/") and header.bytes:
        raise _Broken(f"'{name}' is a folder with content")
    return name


def _data_offset(file: BinaryIO, header: _Header, name: str) -> int:
    file.seek(header.local)
    (signature, _, flags, method, _, _, crc, stored, size, name_bytes, extra_bytes) = _LOCAL.unpack(
        file.read(_LOCAL.size)
    )
    local_name = file.read(name_bytes)
    size, stored = _wide(file.read(extra_bytes), [size, stored])
    said = (signature, flags, method, local_name)
    if said != (b"PK\x03\x04", header.flags, header.method, header.name):
        raise _Broken(f"'{name}' has two headers that disagree")
    written_later = flags & _DESCRIPTOR_FOLLOWS and (crc, stored, size) == (0, 0, 0)
    declared = (header.crc, header.stored_bytes, header.bytes)
    if not written_later and (crc, stored, size) != declared:
        raise _Broken(f"'{name}' has two headers that disagree")
    return header.local + _LOCAL.size + int(name_bytes) + int(extra_bytes)
