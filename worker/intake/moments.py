"""Mean and standard deviation of columns, in two passes over the data and in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from worker.intake.rows import Array

Floats = npt.NDArray[np.float64]


def of_columns(chunks: Callable[[], Iterable[Array]]) -> tuple[Floats, Floats]:
    """Mean and population standard deviation of each column's present values.

    Args:
        chunks: the values, (rows, columns) float32 each, NaN where missing; read twice.

    Returns:
        Both (columns,); a column without values has the mean NaN, a constant one the deviation
        1, so that dividing by it changes nothing.
    """
    counts, sums, squares = np.zeros(1), np.zeros(1), np.zeros(1)
    for chunk in chunks():
        values = chunk.astype(np.float64)
        counts = counts + np.count_nonzero(~np.isnan(values), axis=0)
        sums = sums + np.nansum(values, axis=0)
    mean = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    for chunk in chunks():
        squares = squares + np.nansum((chunk.astype(np.float64) - mean) ** 2, axis=0)
    deviation = np.sqrt(squares / np.maximum(counts, 1))
    # Sums of 2^29 equal float32 values are exact in float64: a constant's deviation is zero.
    return mean, np.where(deviation > 0, deviation, 1.0)
