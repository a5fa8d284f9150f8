"""npz: `x` and `y`, or `x_train`, `y_train` and so on for each part; `x` alone if unlabelled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from stillhouse.errors import InputRejected
from stillhouse.spec import DatasetSpec, Modality
from worker.intake import archive, labels, zips
from worker.intake.rows import (
    PARTS,
    SPELLINGS,
    Array,
    Block,
    Part,
    Pixels,
    Rows,
    Series,
    Table,
    all_train,
)
from worker.protocol import IntakeLimits

_MAX_HEADER_CHARACTERS = 10_000
_CHUNK_ROWS = 1024
_ALLOWED = "x and y, or x_train and y_train (then x_validation or x_val, and x_test, may follow)"


def read(path: Path, work: Path, spec: DatasetSpec, limits: IntakeLimits) -> Rows:
    """Read an npz archive.

    Args:
        path: the user's file; compressed or not.
        work: where its arrays are expanded to, to be memory-mapped.
        spec: the dataset's: its modality, and whether there are labels.
        limits: `decoded_bytes` bounds the arrays' sum.

    Returns:
        Its rows: train's first, then validation's, then test's.

    Raises:
        InputRejected: with the code of what is wrong.
    """
    if spec.columns.id is not None:
        raise InputRejected(
            "column_missing",
            "An npz archive has no columns; leave columns.id out, and rows go by their order.",
            field="columns.id",
        )
    contents = zips.read_directory(path)
    archive.check_expansion(contents, limits)
    entries = {entry.name.removesuffix(".npy"): entry for entry in contents.entries}
    is_labelled = spec.columns.label is not None
    pairs = _pairs(set(entries), is_labelled=is_labelled)
    blocks: list[Block] = []
    texts, codes = [], []
    for part, (x, y) in pairs.items():
        array = expand(contents, entries[x], work)
        blocks.append(_block(x, array, spec.modality))
        codes.append(np.full(len(array), PARTS.index(part), np.int8))
        if is_labelled:
            raw = labels.read(np.asarray(expand(contents, entries[y], work)), name=y)
            _check_alignment(x, array, y, raw)
            texts.append(raw)
    if len({text.dtype.kind == "i" for text in texts}) > 1:
        raise InputRejected(
            "labels_differ", "The parts are labelled differently; label them alike."
        )
    return Rows(
        blocks=tuple(blocks),
        labels=np.concatenate(texts) if is_labelled else None,
        parts=all_train(len(codes[0])) if "x" in entries else np.concatenate(codes),
        given=frozenset() if "x" in entries else frozenset(pairs),
    )


def _pairs(names: set[str], *, is_labelled: bool) -> dict[Part, tuple[str, str]]:
    """The names of items and labels for each part."""
    spelled = {f"_{spelling}": part for spelling, part in SPELLINGS.items()}
    suffixes: dict[str, Part] = {"": "train"} if "x" in names else spelled
    pairs: dict[Part, tuple[str, str]] = {}
    for suffix, part in sorted(suffixes.items(), key=lambda item: PARTS.index(item[1])):
        if f"x{suffix}" not in names:
            continue
        if is_labelled and f"y{suffix}" not in names:
            raise InputRejected(
                "labels_missing",
                f"'x{suffix}' has no 'y{suffix}'; every row needs its label. For a set without "
                "labels, set columns.label to null.",
                field="columns.label",
            )
        if part in pairs:
            raise InputRejected("npz_keys", f"The part '{part}' is there twice; name {_ALLOWED}.")
        pairs[part] = (f"x{suffix}", f"y{suffix}")
    superfluous = names - {name for pair in pairs.values() for name in pair}
    if superfluous or "train" not in pairs:
        raise InputRejected(
            "npz_keys",
            f"The archive has {', '.join(sorted(names)[:10]) or 'no arrays'}; name {_ALLOWED}.",
            allowed=["x", "y", *(f"{axis}_{part}" for part in PARTS for axis in "xy")],
        )
    return pairs


def expand(contents: archive.Archive, entry: archive.Entry, work: Path) -> Array:
    """One array, memory-mapped from a copy of its own."""
    copy = work / f"expanded-{entry.offset}.npy"
    with copy.open("wb") as file:
        for chunk in archive.chunks(contents, entry):
            file.write(chunk)
    with copy.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read_header(file, max_header_size=_MAX_HEADER_CHARACTERS)
        except Exception as error:  # the header is Python text, and the parser raises widely
            raise _unreadable(entry.name) from error
        start = file.tell()
    if dtype.hasobject:
        raise InputRejected(
            "npz_object_array",
            f"'{entry.name}' holds Python objects, which are never loaded; save numbers or text "
            "with a fixed dtype.",
        )
    expected = math.prod(shape) * dtype.itemsize
    if any(length < 0 for length in shape) or start + expected != entry.bytes:
        raise _unreadable(entry.name)
    if expected == 0:
        return np.empty(shape, dtype)
    order: Literal["F", "C"] = "F" if fortran else "C"
    return np.memmap(copy, dtype=dtype, mode="r", offset=start, shape=shape, order=order)


def _unreadable(name: str) -> InputRejected:
    return InputRejected(
        "npz_invalid", f"'{name}' is not a sound array; write it with numpy.savez."
    )


def _block(name: str, array: Array, modality: Modality) -> Block:
    if modality == "tabular":
        return _table(name, array)
    return _series(name, array) if modality == "sequence" else Pixels(_pixels(name, array))


def _table(name: str, array: Array) -> Table:
    """(n, columns); the columns are called "0", "1" and so on."""
    _require_numbers(name, array)
    if array.ndim != 2 or not array.shape[1]:
        raise InputRejected(
            "table_shape",
            f"'{name}' has the shape {list(array.shape)}; a table is (n, columns).",
            field="source",
        )

    def read(columns: Sequence[str]) -> Iterator[list[pa.Array]]:
        for start in range(0, len(array), _CHUNK_ROWS):
            chunk = np.asfortranarray(array[start : start + _CHUNK_ROWS])
            yield [pa.array(chunk[:, int(column)]) for column in columns]

    return Table(len(array), tuple(map(str, range(array.shape[1]))), typed=True, read=read)


def _series(name: str, array: Array) -> Series:
    """(n, length), or (n, length, channels)."""
    _require_numbers(name, array)
    shaped = array[..., None] if array.ndim == 2 else array
    if shaped.ndim != 3 or 0 in shaped.shape[1:]:
        raise InputRejected(
            "sequence_shape",
            f"'{name}' has the shape {list(array.shape)}; series are (n, length), or "
            "(n, length, channels), the channels last.",
            field="source",
        )

    def read() -> Iterator[Array]:
        for start in range(0, len(shaped), _CHUNK_ROWS):
            yield shaped[start : start + _CHUNK_ROWS]

    return Series(len(shaped), read)


def _require_numbers(name: str, array: Array) -> None:
    if array.dtype.kind not in "iuf":
        raise InputRejected(
            "array_dtype",
            f"'{name}' is {array.dtype}; it should hold floats or integers.",
            field="source",
        )


def _pixels(name: str, array: Array) -> Array:
    """An array as (n, height, width, channels)."""
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise InputRejected(
            "image_dtype",
            f"'{name}' is {array.dtype}; use uint8 (0 to 255) or a float (taken as it is).",
        )
    shaped = array[..., None] if array.ndim == 3 else array
    if shaped.ndim != 4 or shaped.shape[3] not in (1, 3) or 0 in shaped.shape[1:]:
        raise InputRejected(
            "image_shape",
            f"'{name}' has the shape {list(array.shape)}; images are (n, height, width) or "
            "(n, height, width, channels) with 1 or 3 channels, the channels last.",
        )
    return shaped


def _check_alignment(x: str, array: Array, y: str, raw: Array) -> None:
    if len(array) != len(raw):
        raise InputRejected(
            "rows_differ", f"'{x}' has {len(array)} rows and '{y}' has {len(raw)}; align them."
        )
