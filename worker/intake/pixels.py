"""Images from columns of pixels, as parquet and csv may hold them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from stillhouse.errors import InputRejected
from stillhouse.spec import InputSpec
from worker.intake import pictures
from worker.intake.rows import Array, Pixels
from worker.protocol import IntakeLimits

Batches = Callable[[], Iterator[Array]]
"""Pixels as (rows, columns), from the start at each call."""


def of_columns(
    batches: Batches,
    *,
    dtype: np.dtype[np.generic] | None,
    wanted: InputSpec | None,
    path: Path,
    limits: IntakeLimits,
) -> Pixels:
    """Images from columns of pixels, in row order (then channel, if there are three).

    Whole numbers from 0 to 255 become uint8, which is divided by 255 later; anything else
    is taken as it is, in float32. Where the format has no types (csv), a column set of
    zeros and ones only counts as floating point.

    Args:
        batches: the values; read twice.
        dtype: what the columns are; None: the format doesn't say.
        wanted: its size says height and width; without it the images are square and gray.
        path: where the array lies.
        limits: `decoded_bytes` bounds it.

    Returns:
        The images.

    Raises:
        InputRejected: `pixel_count`, `image_dtype` or `dataset_empty`.
    """
    rows, width, low, high, is_whole = _survey(batches())
    if not rows:
        raise InputRejected("dataset_empty", "The table has no rows; send at least two classes.")
    in_bytes = is_whole and low >= 0 and high <= 255
    if dtype is not None and dtype.kind in "iub" and not in_bytes:
        raise InputRejected(
            "image_dtype",
            f"Pixels reach from {low:g} to {high:g}; integers are 0 to 255.",
            field="columns.input",
        )
    as_bytes = in_bytes and (dtype.kind in "iub" if dtype is not None else high > 1)
    shape = _shape(width, wanted)
    array = pictures.scratch(path, (rows, *shape), np.uint8 if as_bytes else np.float32, limits)
    at = 0
    for batch in batches():
        array[at : at + len(batch)] = batch.reshape(-1, *shape)
        at += len(batch)
    return Pixels(array)


def _survey(batches: Iterable[Array]) -> tuple[int, int, float, float, bool]:
    rows, width, low, high, is_whole = 0, 0, math.inf, -math.inf, True
    for batch in batches:
        if not batch.size:
            continue
        if width not in (0, batch.shape[1]):
            raise InputRejected(
                "pixel_count",
                f"Rows have {width} and {batch.shape[1]} pixels; give all images one size.",
                field="columns.input",
            )
        rows, width = rows + len(batch), batch.shape[1]
        low, high = min(low, float(batch.min())), max(high, float(batch.max()))
        is_whole = is_whole and bool(np.all(batch == np.floor(batch)))
    return rows, width, low, high, is_whole


def _shape(width: int, wanted: InputSpec | None) -> tuple[int, int, int]:
    if wanted is None:
        side = math.isqrt(width)
        if side * side == width:
            return side, side, 1
        said = "that is no square; give input.size"
    else:
        height, across = wanted.size
        if width in (height * across, 3 * height * across):
            return height, across, width // (height * across)
        said = f"input.size says {height} x {across}; make them agree"
    raise InputRejected(
        "pixel_count", f"There are {width} pixels a row, and {said}.", field="columns.input"
    )
