"""Tables: what each column is, and its cells as float32.

A column is numeric if every value that is there is a number, else a category: its cells become
the values' positions. Kinds are told from all rows; statistics and categories come from the train
part alone, so that nothing of the test part is learnt here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stillhouse.errors import InputRejected
from stillhouse.spec import TableInput
from worker.intake import categories, cells, moments, pictures
from worker.intake.rows import Array, Decoded, Indices, Table
from worker.intake.words import is_name, plain
from worker.protocol import IntakeLimits

MAX_COLUMNS = 4096  # as `stillhouse.spec.TableInput`
_ALL_VALUES = 100_000  # Categories travel with every student.
_CHUNK_ROWS = 8192


@dataclass(slots=True)
class _Column:
    name: str
    is_number: bool
    said: dict[str, Any]
    """What the user says of it."""
    codes: categories.Codes = field(default_factory=dict)


def take(
    blocks: Sequence[Table],
    wanted: TableInput | None,
    train: Indices,
    work: Path,
    limits: IntakeLimits,
) -> tuple[Decoded, dict[str, Any]]:
    """All rows on disk, and what their columns are.

    Refused as `InputRejected`: `columns_differ`, `column_missing`, `column_twice`, `column_name`,
    `column_type`, `column_empty`, `too_many_columns`, `too_many_categories`, `category_invalid`,
    `not_finite`, `limit_exceeded`.

    Args:
        blocks: the rows.
        wanted: columns in the user's words: kinds, values and statistics in it stand.
        train: row numbers of the train part.
        work: where the array lies.
        limits: `decoded_bytes` bounds it.

    Returns:
        The rows (n, columns) float32: numbers (NaN where missing), categories by their value's
        number (-1 where missing, or not among the train part's); and a `TableInput`.
    """
    columns = _planned(blocks, wanted)
    shape = (sum(map(len, blocks)), len(columns))
    array = pictures.scratch(work / "table.npy", shape, np.float32, limits, what="rows")
    names, at = [column.name for column in columns], 0
    for block in blocks:
        for batch in block.read(names):
            stop = at + len(batch[0])
            for position, column in enumerate(columns):
                array[at:stop, position] = _stored(batch[position], column, row=at)
            at = stop
    return Decoded(array), {"modality": "tabular", "columns": _settled(array, columns, train)}


def _planned(blocks: Sequence[Table], wanted: TableInput | None) -> list[_Column]:
    names = blocks[0].names
    for block in blocks:
        if set(block.names) != set(names):
            odd = ", ".join(plain(name) for name in sorted(set(block.names) ^ set(names))[:5])
            raise InputRejected(
                "columns_differ",
                f"The parts have different columns ({odd}); send the same ones, or name those to "
                "read in columns.input.",
                field="columns.input",
            )
    _check_names(names)
    said = _said(wanted, names)
    if len(said) == len(names):  # Another dataset's input, perhaps: its order holds, too.
        names = tuple(said)
    guessed = [name for name in names if name not in said]
    numeric = set(guessed)
    for block in blocks:
        numeric &= _numeric(block, [name for name in guessed if name in numeric])
    numeric |= {name for name, of_one in said.items() if of_one["kind"] == "number"}
    return [_Column(name, name in numeric, said.get(name, {})) for name in names]


def _said(wanted: TableInput | None, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the user says of some columns, without defaults: intake finds what isn't said."""
    if wanted is None:
        return {}
    dumped = [column.model_dump(mode="json", exclude_unset=True) for column in wanted.columns]
    said = {
        of_one["name"]: {key: value for key, value in of_one.items() if value != []}
        for of_one in dumped
    }
    unknown = next((name for name in said if name not in names), None)
    if unknown is not None or len(said) < len(dumped):
        raise InputRejected(
            "column_missing" if unknown is not None else "column_twice",
            f"input.columns names '{plain(unknown)}', which is no input column; see 'allowed'."
            if unknown is not None
            else "input.columns names a column twice; name it once.",
            field="input.columns",
            allowed=[plain(name) for name in names[:100]],
        )
    return said


def _check_names(names: Sequence[str]) -> None:
    if not 0 < len(names) <= MAX_COLUMNS:
        raise InputRejected(
            "too_many_columns" if names else "column_missing",
            f"There are {len(names)} input columns; a table has 1 to {MAX_COLUMNS}. Name them in "
            "columns.input.",
            field="columns.input",
        )
    odd = next((name for name in names if not is_name(name)), None)
    if odd is not None:
        raise InputRejected(
            "column_name",
            f"A column is called '{plain(odd)}'; names have 1 to 256 printable characters. Rename "
            "it, or name the columns to read in columns.input.",
            field="columns.input",
        )


def _numeric(block: Table, names: list[str]) -> set[str]:
    """Those columns whose every value is a number."""
    found = set(names)
    if not names:
        return found
    for batch in block.read(names):
        for name, array in zip(names, batch, strict=True):
            if name in found and not cells.are_numbers(array, typed=block.typed):
                found.remove(name)
    return found


def _stored(array: pa.Array, column: _Column, *, row: int) -> Array:
    """One column of a batch in float32."""
    if not column.is_number:
        return categories.encode(cells.texts(array), column.codes, name=column.name)
    numbers = cells.numbers(array)
    if isinstance(numbers, str):
        raise InputRejected(
            "column_type",
            f"'{plain(column.name)}' holds '{plain(numbers)}', which is no number; clean it, or "
            "say in input.columns that its kind is category.",
            field="input.columns",
        )
    with np.errstate(over="ignore"):  # What overflows float32 is found on the next line.
        values = numbers.astype(np.float32)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise InputRejected(
            "not_finite",
            f"'{plain(column.name)}' is infinite (in float32) in row {row + infinite[0]}; leave "
            "the cell empty (missing), or clean it.",
            field="columns.input",
        )
    return values


def _settled(array: Array, columns: list[_Column], train: Indices) -> list[dict[str, Any]]:
    """The columns as a `TableInput` has them; categories are renumbered by the train part's."""

    def chunks() -> Iterator[Array]:
        for start in range(0, len(train), _CHUNK_ROWS):
            yield array[train[start : start + _CHUNK_ROWS]]

    mean, std = moments.of_columns(chunks)
    codes = {at: column.codes for at, column in enumerate(columns) if not column.is_number}
    values = categories.found_in(chunks(), codes)
    settled = []
    for at, column in enumerate(columns):
        is_empty = not values[at] if at in values else np.isnan(mean[at])
        if is_empty and column.said.keys().isdisjoint({"mean", "values"}):
            raise _empty(column.name)
        found: dict[str, Any] = {"name": column.name, "kind": "category"}
        if column.is_number:
            found |= {"kind": "number", "mean": float(mean[at]), "std": float(std[at])}
        else:
            found["values"] = values[at]
        settled.append(found | column.said)
    if sum(len(of_one["values"]) for of_one in settled if "values" in of_one) > _ALL_VALUES:
        raise categories.too_many(f"All columns together have more than {_ALL_VALUES} values")
    categories.renumber(array, codes, {at: settled[at]["values"] for at in codes})
    return settled


def _empty(name: str) -> InputRejected:
    return InputRejected(
        "column_empty",
        f"'{plain(name)}' has no values in the train part; fill it, or name only the other columns "
        "in columns.input.",
        field="columns.input",
    )
