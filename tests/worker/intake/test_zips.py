from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stillhouse.errors import InputRejected
from worker.intake import archive, zips


def pack(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return content.getvalue()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_python_writes_is_read(compression: int, tmp_path: Path) -> None:
    files = {"a.txt": b"", "b/ü.txt": bytes(3_000_000)}
    path = tmp_path / "a.zip"
    path.write_bytes(pack(files, compression))
    contents = zips.read_directory(path)
    assert {entry.name: archive.read(contents, entry) for entry in contents.entries} == files


def test_what_a_stream_writes_is_read(tmp_path: Path) -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

    content = Stream()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.txt", b"abc" * 100)
    path = tmp_path / "a.zip"
    path.write_bytes(content.getvalue())
    contents = zips.read_directory(path)
    assert archive.read(contents, contents.entries[0]) == b"abc" * 100


def test_what_torch_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(100)}, path)
    assert "a/data.pkl" in {entry.name for entry in zips.read_directory(path).entries}


def changed(find: bytes, replacement: bytes, which: int) -> bytes:
    """An archive of a.txt and b.txt with one occurrence of some bytes replaced."""
    whole = pack({"a.txt": b"AAAA", "b.txt": b"BBBB"})
    at = -1
    for _ in range(which):
        at = whole.index(find, at + 1)
    return whole[:at] + replacement + whole[at + len(find) :]


WHOLE = pack({"a.txt": b"AAAA", "b.txt": b"BBBB"})
CENTRAL = WHOLE.index(b"PK\x01\x02")
SECOND_CENTRAL = WHOLE.index(b"PK\x01\x02", CENTRAL + 1)
END = WHOLE.index(b"PK\x05\x06")


def at(position: int, replacement: bytes) -> bytes:
    return WHOLE[:position] + replacement + WHOLE[position + len(replacement) :]


def quoted() -> bytes:
    """a.txt, whose content is b.txt with its header; the directory lists both."""
    inner = pack({"b.txt": b"BBBB"})
    hidden = inner[: inner.index(b"PK\x01\x02")]
    outer = pack({"a.txt": hidden})
    directory, end = outer.index(b"PK\x01\x02"), outer.index(b"PK\x05\x06")
    offset = outer.index(hidden).to_bytes(4, "little")
    record = bytearray(inner[inner.index(b"PK\x01\x02") : inner.index(b"PK\x05\x06")])
    record[42:46] = offset
    records = outer[directory:end] + bytes(record)
    tail = outer[end : end + 8] + b"\x02\0\x02\0" + len(records).to_bytes(4, "little")
    return outer[:directory] + records + tail + directory.to_bytes(4, "little") + b"\0\0"


BAD: dict[str, bytes] = {
    "an entry within another": quoted(),
    "cut": WHOLE[:-1],
    "a tail": WHOLE + b"x",
    "something before": b"x" * 64 + WHOLE,
    "an absolute name": pack({"/etc/passwd": b""}),
    "a name with dots": pack({"a/../../b": b""}),
    "a name twice": changed(b"b.txt", b"a.txt", 1).replace(b"b.txt", b"a.txt"),
    "another local name": changed(b"b.txt", b"c.txt", 1),
    "another local flag": at(6, b"\x08"),
    "another local method": at(8, b"\x08"),
    "another local size": at(22, b"\x03"),
    "encrypted": at(CENTRAL + 8, b"\x01").replace(b"\x14\0\0\0\0\0", b"\x14\0\x01\0\0\0", 1),
    "entries that overlap": at(SECOND_CENTRAL + 42, b"\0\0\0\0"),
    "an entry beyond the end": at(CENTRAL + 42, b"\xff\xff\0\0"),
    "an entry within the directory": at(SECOND_CENTRAL + 20, b"\x50\0\0\0\x50\0\0\0"),
    "more entries than said": at(END + 8, b"\x01\0\x01\0"),
    "fewer entries than said": at(END + 8, b"\x03\0\x03\0"),
    "a directory elsewhere": at(END + 16, b"\0\0\0\0"),
    "several disks": at(END + 4, b"\x01"),
    "a zip64 locator to nowhere": WHOLE[:END] + b"PK\x06\x07" + bytes(16) + WHOLE[END:],
    "the end only": WHOLE[END:],
    "bzip2": pack({"a": b"abc"}, zipfile.ZIP_BZIP2),
}


UNSAFE = ("an absolute name", "a name with dots", "a name twice", "encrypted")


@pytest.mark.parametrize("name", UNSAFE)
def test_what_is_not_damaged_but_meant_can_have_a_code_of_its_own(
    name: str, tmp_path: Path, refused: Callable[..., Any]
) -> None:
    path = tmp_path / "bad.zip"
    path.write_bytes(BAD[name])
    refused("unsafe", lambda: zips.read_directory(path, unsafe_code="unsafe"))


@pytest.mark.parametrize("name", BAD)
def test_an_archive_that_can_be_read_in_two_ways_is_not_read(
    name: str, tmp_path: Path, refused: Callable[..., Any]
) -> None:
    assert BAD[name] != WHOLE
    path = tmp_path / "bad.zip"
    path.write_bytes(BAD[name])
    refused("zip_invalid", lambda: zips.read_directory(path))


def test_every_single_changed_byte_is_refused_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "flipped.zip"
    known = {("a.txt", b"AAAA"), ("b.txt", b"BBBB")}
    for position in range(len(WHOLE)):
        path.write_bytes(at(position, bytes([WHOLE[position] ^ 0xFF])))
        try:
            contents = zips.read_directory(path)
            found = {(entry.name, archive.read(contents, entry)) for entry in contents.entries}
        except InputRejected:
            continue
        assert found == known, f"byte {position}"
