"""What a file is, told from its bytes. Names and suffixes say nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal[
    "zip",
    "gzip",
    "tar",
    "parquet",
    "hdf5",
    "safetensors",
    "pickle",
    "objects",
    "text",
    "empty",
    "unknown",
]

_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"\x1f\x8b", "gzip"),
    (257, b"ustar", "tar"),
    (0, b"PAR1", "parquet"),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
)
_PICKLE_PROTOCOLS = b"\x02\x03\x04\x05"
_HEAD_BYTES = 4096
_BOM = b"\xef\xbb\xbf"


def kind_of(path: Path) -> Kind:
    """The container of a file, from its first 4 KiB."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return "empty"
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    if head[:1] == b"\x80" and head[1:2] in _PICKLE_PROTOCOLS:
        return "pickle"
    if _is_text(head):
        # No csv file's first column is called so: these are JSON objects, one a line.
        return "objects" if head.removeprefix(_BOM).lstrip()[:1] == b"{" else "text"
    # A header's length comes first, which is no text: it has zero bytes.
    return "safetensors" if head[8:9] == b"{" else "unknown"


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        # A character may be cut at the end of the head.
        head.decode("utf-8-sig") if len(head) < _HEAD_BYTES else head[:-4].decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 8
    return True
