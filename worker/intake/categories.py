"""Categorical cells: numbered as they come, then renumbered by the values of the train part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stillhouse.errors import InputRejected
from worker.intake.rows import Array
from worker.intake.words import is_name, plain

MAX_VALUES = 10_000
MISSING = -1
_CHUNK_ROWS = 8192

Codes = dict[str, int]
"""A column's values -> their numbers, in the order in which they came."""


def encode(texts: pa.Array, codes: Codes, *, name: str) -> npt.NDArray[np.float32]:
    """A batch of one column by number, (rows,), -1 where missing.

    `texts` are (rows,) strings, null where missing; `codes` are those of the batches before, and
    get the new values. Refused as `InputRejected`: `category_invalid`, `too_many_categories`.
    """
    encoded = texts.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    for value in values:
        if value not in codes:
            _check(value, len(codes), name)
            codes[value] = len(codes)
    numbers = np.asarray([codes[value] for value in values] + [MISSING], np.float32)
    indices = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    return np.asarray(numbers[indices], np.float32)


def found_in(chunks: Iterable[Array], columns: Mapping[int, Codes]) -> dict[int, list[str]]:
    """The values that occur in some rows.

    Args:
        chunks: the rows, (rows, all columns) each.
        columns: position -> codes of the categorical ones.

    Returns:
        Position -> values, sorted.
    """
    seen = {at: np.zeros(len(codes) + 1, bool) for at, codes in columns.items()}
    for chunk in chunks:
        for at, marks in seen.items():
            marks[chunk[:, at].astype(np.int64)] = True  # the last mark is that of MISSING
    return {
        at: sorted(value for value, code in codes.items() if seen[at][code])
        for at, codes in columns.items()
    }


def renumber(
    array: Array, columns: Mapping[int, Codes], values: Mapping[int, Iterable[str]]
) -> None:
    """Number cells anew, in place: by a value's position in `values`, -1 if it isn't there."""
    orders = {}
    for at, codes in columns.items():
        orders[at] = np.full(len(codes) + 1, MISSING, np.float32)
        for number, value in enumerate(values[at]):
            if value in codes:
                orders[at][codes[value]] = number
    for start in range(0, len(array), _CHUNK_ROWS):
        chunk = array[start : start + _CHUNK_ROWS]
        for at, order in orders.items():
            chunk[:, at] = order[chunk[:, at].astype(np.int64)]


def too_many(what: str) -> InputRejected:
    """The refusal of more categories than a network should have slots for."""
    return InputRejected(
        "too_many_categories",
        f"{what}; group the rare ones, or name only the other columns in columns.input.",
        field="columns.input",
    )


def _check(value: str, count: int, name: str) -> None:
    if not is_name(value):
        raise InputRejected(
            "category_invalid",
            f"'{plain(name)}' holds '{plain(value)}'; categories are 1 to 256 printable "
            "characters. Clean it, or leave the column out of columns.input.",
            field="columns.input",
        )
    if count >= MAX_VALUES:
        raise too_many(f"'{plain(name)}' has more than {MAX_VALUES} different values")
