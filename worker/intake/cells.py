"""Cells of a table as Arrow has them: numbers, or text; null where a value is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a type is one of numbers; truth values are not."""
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is text."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def plain(array: pa.Array) -> pa.Array:
    """An array without its dictionary, if it has one; truth values as text."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(pa.string()) if pa.types.is_boolean(array.type) else array


def are_numbers(array: pa.Array, *, typed: bool) -> bool:
    """Whether all values that are there are numbers; where there are types, text never is."""
    if is_numeric(array.type) or array.null_count == len(array):
        return True
    return not typed and not isinstance(_parsed(array), str)


def numbers(array: pa.Array) -> Floats | str:
    """Values as float64, NaN where missing; or the first one that is no number."""
    if is_numeric(array.type):
        floats = array.cast(pa.float64(), safe=False)  # An integer beyond 2^53 may be rounded.
        return np.asarray(floats.to_numpy(zero_copy_only=False), np.float64)
    return _parsed(array)


def texts(array: pa.Array) -> pa.Array:
    """Values as text: whole numbers without a fraction, so that 3 and 3.0 are one category."""
    if not is_numeric(array.type):
        return array.cast(pa.string())
    return pa.array([written(value) for value in array.to_pylist()], pa.string())


def written(value: Any) -> str | None:
    """A number as text; None where it is missing (or NaN)."""
    if value is None or value != value:  # noqa: PLR0124  # only NaN differs from itself
        return None
    return str(int(value)) if abs(value) < 2**53 and value == int(value) else str(value)


def _parsed(array: pa.Array) -> Floats | str:
    """Text as float64, or the first one that is no number."""
    trimmed = pc.utf8_trim_whitespace(array.cast(pa.string()))
    try:
        return np.asarray(trimmed.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except pa.ArrowInvalid:
        return next(str(text) for text in trimmed.drop_null().to_pylist() if not _is_number(text))


def _is_number(text: str) -> bool:
    try:
        pa.scalar(text).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True
