"""The dataset store: one npz a part, stored without compression, so that it can be mapped.

The same rows give the same bytes: fixed times, fixed order, arrays aligned to 64 bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from worker.intake import publish
from worker.intake.rows import Array, Decoded, Indices, Part
from worker.protocol import File

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that zip knows
_ALIGNMENT = 64
_LOCAL_HEADER_BYTES = 30 + 20  # the fixed part, and the zip64 field that zipfile puts first
_PADDING_FIELD = 0xD935  # the id that Android's zipalign pads with
_CHUNK_ROWS = 512

Hashes = npt.NDArray[np.uint64]


def write_part(path: Path, items: Decoded, labels: Indices, rows: Indices) -> tuple[File, Hashes]:
    """Write one part.

    Args:
        path: the npz to write.
        items: all of the dataset's rows.
        labels: (n,), all of them too.
        rows: the row numbers of this part, ascending.

    Returns:
        The file, and a 64-bit hash of each of its items, (rows,).
    """
    hashes = np.empty(len(rows), np.uint64)
    lengths = np.empty(len(rows), np.int64)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with _member(archive, "x") as sink:
            _write_header(sink, items.shape(rows), items.x.dtype)
            for start in range(0, len(rows), _CHUNK_ROWS):
                for at, item in enumerate(items.take(rows[start : start + _CHUNK_ROWS]), start):
                    sink.write(item.data.cast("B"))
                    hashes[at], lengths[at] = _hash(item), len(item)
        _write_columns(archive, {"y": labels[rows], "rows": rows})
        if items.ends is not None:
            _write_columns(archive, {"ends": np.cumsum(lengths)})
    return publish.file(path), hashes


def write_ids(path: Path, ids: Sequence[str]) -> File:
    """Write the rows' ids by row number: an npz with `ids` (n,), text of a fixed width."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _write_columns(archive, {"ids": np.asarray(ids, np.str_)})
    return publish.file(path)


def write_json(path: Path, value: Mapping[str, object]) -> File:
    """Write a small file of JSON."""
    path.write_text(json.dumps(value, separators=(",", ":")), encoding="utf-8")
    return publish.file(path)


def fingerprint(
    parts: Mapping[Part, File], classes: list[str], columns: object | None = None
) -> str:
    """What makes a dataset the same, as one SHA-256.

    Args:
        parts: their bytes.
        classes: the names.
        columns: of a table, whose cells mean nothing without them.

    Returns:
        In hexadecimal.
    """
    said: list[object] = [classes, {part: file["sha256"] for part, file in sorted(parts.items())}]
    said += [] if columns is None else [columns]
    return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


def count_shared(hashes: Mapping[Part, Hashes]) -> int:
    """How many distinct items occur in more than one part."""
    distinct = [np.unique(of_part) for of_part in hashes.values()]
    _, counts = np.unique(np.concatenate(distinct), return_counts=True)
    return int(np.count_nonzero(counts > 1))


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    info = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
    start = archive.start_dir + _LOCAL_HEADER_BYTES + len(info.filename) + 4
    padding = -start % _ALIGNMENT
    info.extra = _PADDING_FIELD.to_bytes(2, "little") + padding.to_bytes(2, "little")
    info.extra += bytes(padding)
    return archive.open(info, "w", force_zip64=True)


def _write_columns(archive: zipfile.ZipFile, columns: Mapping[str, Array]) -> None:
    for name, column in columns.items():
        with _member(archive, name) as sink:
            _write_header(sink, column.shape, column.dtype)
            sink.write(column.tobytes())


def _write_header(sink: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    header = io.BytesIO()
    described = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(header, described)
    sink.write(header.getvalue())


def _hash(item: Array) -> int:
    digest = hashlib.blake2b(item.data.cast("B"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
