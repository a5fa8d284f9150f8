"""npz: `x` and `y`, or `x_train`, `y_train` and so on for each part."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np

from stillhouse.errors import InputRejected
from worker.intake import archive, labels, zips
from worker.intake.rows import PARTS, SPELLINGS, Array, Part, Pixels, Rows, all_train
from worker.protocol import IntakeLimits

_MAX_HEADER_CHARACTERS = 10_000
_ALLOWED = "x and y, or x_train and y_train (then x_validation or x_val, and x_test, may follow)"


def read(path: Path, work: Path, limits: IntakeLimits) -> Rows:
    """Read an npz archive.

    Args:
        path: the user's file; compressed or not.
        work: where its arrays are expanded to, to be memory-mapped.
        limits: `decoded_bytes` bounds their sum.

    Returns:
        Its rows: train's first, then validation's, then test's.

    Raises:
        InputRejected: with the code of what is wrong.
    """
    contents = zips.read_directory(path)
    archive.check_expansion(contents, limits)
    entries = {entry.name.removesuffix(".npy"): entry for entry in contents.entries}
    pairs = _pairs(set(entries))
    images, texts, codes = [], [], []
    for part, (x, y) in pairs.items():
        pixels = _pixels(x, _expand(contents, entries[x], work))
        raw = labels.read(np.asarray(_expand(contents, entries[y], work)), name=y)
        _check_alignment(x, pixels, y, raw)
        images.append(Pixels(pixels))
        texts.append(raw)
        codes.append(np.full(len(raw), PARTS.index(part), np.int8))
    if len({text.dtype.kind == "i" for text in texts}) > 1:
        raise InputRejected(
            "labels_differ", "The parts are labelled differently; label them alike."
        )
    return Rows(
        images=tuple(images),
        labels=np.concatenate(texts),
        parts=all_train(len(texts[0])) if "x" in entries else np.concatenate(codes),
        given=frozenset() if "x" in entries else frozenset(pairs),
    )


def _pairs(names: set[str]) -> dict[Part, tuple[str, str]]:
    """The names of images and labels for each part."""
    spelled = {f"_{spelling}": part for spelling, part in SPELLINGS.items()}
    suffixes: dict[str, Part] = {"": "train"} if "x" in names else spelled
    pairs: dict[Part, tuple[str, str]] = {}
    for suffix, part in sorted(suffixes.items(), key=lambda item: PARTS.index(item[1])):
        if f"x{suffix}" not in names:
            continue
        if f"y{suffix}" not in names:
            raise InputRejected(
                "labels_missing", f"'x{suffix}' has no 'y{suffix}'; every row needs its label."
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


def _expand(contents: archive.Archive, entry: archive.Entry, work: Path) -> Array:
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


def _check_alignment(x: str, pixels: Array, y: str, raw: Array) -> None:
    if len(pixels) != len(raw):
        raise InputRejected(
            "rows_differ", f"'{x}' has {len(pixels)} rows and '{y}' has {len(raw)}; align them."
        )
