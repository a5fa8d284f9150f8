"""A dataset's parts as memory-mapped arrays.

A part is an uncompressed npz: `x`, `y` (n,) int64 and `rows` (n,) int64, the rows' numbers in
the source. What `x` is depends on the modality:

    image       (n, h, w, c) uint8 or float32
    sequence    (n, length, channels) float32
    tabular     (n, columns) float32: numbers (NaN where missing), categories by number (or -1)
    text        (bytes,) uint8, all texts in UTF-8 one after another; `ends` (n,) int64 tells where
                each one ends

Its members are stored, not deflated, so each array can be mapped where it lies in the file and
costs no memory until it is read.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from stillhouse.spec import Modality

_LOCAL_HEADER_BYTES = 30  # the fixed part of a zip member's header (APPNOTE 4.3.7)
_BYTES, _FLOATS = np.dtype(np.uint8), np.dtype(np.float32)
_MODALITIES: dict[int, Modality] = {4: "image", 3: "sequence", 2: "tabular", 1: "text"}
UNLABELLED = -1


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a dataset; its arrays are read-only and backed by the file."""

    x: NDArray[Any]
    """The items, by modality as above."""
    labels: NDArray[np.int64]
    """(n,), from 0 to classes - 1; -1 (`UNLABELLED`) in a transfer set."""
    rows: NDArray[np.int64]
    """(n,), the row's number in the source."""
    ends: NDArray[np.int64] | None = None
    """(n,), text only: where each item's bytes end."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def modality(self) -> Modality:
        """What the items are."""
        return _MODALITIES[self.x.ndim]

    def head(self, count: int) -> Part:
        """The first items."""
        ends = None if self.ends is None else self.ends[:count]
        items = count if ends is None else int(ends[-1])
        return Part(self.x[:items], self.labels[:count], self.rows[:count], ends)

    def bytes_of(self, row: int) -> bytes:
        """An item as bytes: equal items have equal ones."""
        if self.ends is None:
            return bytes(self.x[row].tobytes())
        return bytes(self.x[self.ends[row - 1] if row else 0 : self.ends[row]])

    def texts(self, start: int, stop: int) -> list[str]:
        """Text only: the items from `start` up to `stop`."""
        if self.ends is None:
            raise ValueError("only texts have ends")
        ends = [int(end) for end in self.ends[max(start - 1, 0) : stop]]
        first = 0 if start == 0 else ends.pop(0)
        return [
            bytes(self.x[begin:end]).decode()
            for begin, end in zip([first, *ends], ends, strict=False)
        ]


def open_part(path: str | Path) -> Part:
    """Map a part's arrays.

    Args:
        path: The npz.

    Returns:
        The part; nothing but the headers was read yet.

    Raises:
        ValueError: The file is not such an npz.
    """
    file = Path(path)
    with zipfile.ZipFile(file) as archive, file.open("rb") as stream:
        names = [name for name in ("x", "y", "rows", "ends") if f"{name}.npy" in archive.namelist()]
        arrays = {name: _map_member(file, stream, archive.getinfo(f"{name}.npy")) for name in names}
    part = Part(arrays["x"], arrays["y"], arrays["rows"], arrays.get("ends"))
    if part.x.ndim not in _MODALITIES or part.x.dtype not in _allowed(part):
        raise ValueError(f"{file}: x is {part.x.dtype}{part.x.shape}")
    columns = [part.labels, part.rows] + ([] if part.ends is None else [part.ends])
    length = len(part.x) if part.ends is None else len(part.ends)
    if any(column.shape != (length,) or column.dtype != np.int64 for column in columns):
        raise ValueError(f"{file}: y, rows and ends must be int64, one for each item")
    return part


def _allowed(part: Part) -> tuple[np.dtype[Any], ...]:
    if part.modality == "image":
        return (_BYTES, _FLOATS) if part.x.shape[3] in (1, 3) else ()
    if part.modality == "text":
        return (_BYTES,) if part.ends is not None else ()
    return (_FLOATS,)


def _map_member(file: Path, stream: IO[bytes], member: zipfile.ZipInfo) -> NDArray[Any]:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{file}: {member.filename} is compressed and can't be mapped")
    stream.seek(member.header_offset)
    header = stream.read(_LOCAL_HEADER_BYTES)
    # The local header's name and extra field may be longer than the directory's.
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    stream.seek(lengths, 1)
    shape, fortran, dtype = _read_npy_header(stream)
    if fortran or dtype.hasobject:
        raise ValueError(f"{file}: {member.filename} is not a plain C-ordered array")
    if 0 in shape:
        return np.empty(shape, dtype)  # An empty range of a file can't be mapped.
    return np.memmap(file, dtype=dtype, mode="r", offset=stream.tell(), shape=shape)


def _read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(stream)
    if version == (1, 0):
        return npy.read_array_header_1_0(stream)
    return npy.read_array_header_2_0(stream)
