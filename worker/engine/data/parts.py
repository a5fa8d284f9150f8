"""A dataset's parts as memory-mapped arrays.

A part is an uncompressed npz: `x` (n, h, w, c) uint8 or float32, `y` (n,) int64 and
`rows` (n,) int64, the rows' numbers in the source. Its members are stored, not deflated,
so each array can be mapped where it lies in the file and costs no memory until it is read.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_LOCAL_HEADER_BYTES = 30  # the fixed part of a zip member's header (APPNOTE 4.3.7)
_PIXEL_TYPES = (np.dtype(np.uint8), np.dtype(np.float32))


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a dataset; its arrays are read-only and backed by the file."""

    images: NDArray[Any]
    """(n, h, w, c), uint8 0-255 or float32 as the source gave it; c is 1 or 3."""
    labels: NDArray[np.int64]
    """(n,), from 0 to classes - 1."""
    rows: NDArray[np.int64]
    """(n,), the row's number in the source."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int]:
        """Height, width."""
        return int(self.images.shape[1]), int(self.images.shape[2])

    @property
    def channels(self) -> int:
        """1 for gray, 3 for rgb."""
        return int(self.images.shape[3])


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
        arrays = {
            name: _map_member(file, stream, archive.getinfo(f"{name}.npy"))
            for name in ("x", "y", "rows")
        }
    images, labels, rows = arrays["x"], arrays["y"], arrays["rows"]
    if images.ndim != 4 or images.dtype not in _PIXEL_TYPES or images.shape[3] not in (1, 3):
        raise ValueError(f"{file}: x is {images.dtype}{images.shape}")
    if any(a.shape != (len(images),) or a.dtype != np.int64 for a in (labels, rows)):
        raise ValueError(f"{file}: y and rows must be int64, one for each image")
    return Part(images=images, labels=labels, rows=rows)


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
