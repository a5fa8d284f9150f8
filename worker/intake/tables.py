"""What parquet, csv and jsonl share: columns by name, parts by a column, rows by their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stillhouse.errors import InputRejected
from stillhouse.spec import DatasetSpec
from worker.intake.rows import PARTS, SPELLINGS, Array, Block, Part, Rows, all_train
from worker.intake.words import plain
from worker.protocol import IntakeLimits

MAX_ROWS = 100_000_000
MAX_ID_CHARACTERS = 128
_ONE_COLUMN = {"image": "image", "text": "text"}
"""Modality -> its column, where the specification names none."""


class Source(Protocol):
    """A file of named columns."""

    def names(self) -> Sequence[str]:
        """All columns, in the file's order."""

    def labels(self, name: str, classes: tuple[str, ...] | None) -> tuple[Array, Names]:
        """The label column: indices or text, and the names of indices where the file has them."""

    def column(self, name: str, *, field: str) -> Sequence[object]:
        """A column of text or whole numbers, None where a value is missing.

        `field` is what the specification calls it.
        """

    def count(self) -> int:
        """How many rows there are."""

    def block(
        self, inputs: tuple[str, ...], count: int, *, spec: DatasetSpec, work: Path,
        limits: IntakeLimits,
    ) -> Block:  # fmt: skip
        """The items that those columns hold, in the specification's modality."""


Names = tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which columns are what."""

    inputs: tuple[str, ...]
    label: str | None


def read(source: Source, work: Path, spec: DatasetSpec, limits: IntakeLimits) -> Rows:
    """The rows of a file of named columns, in its order.

    What the source can't give is refused as `InputRejected`; so are `column_missing`,
    `split_unknown`, `id_invalid`, `dataset_empty` and `limit_exceeded`.
    """
    chosen = choose(spec, source.names())
    raw, names = (None, None)
    if chosen.label is not None:
        raw, names = source.labels(chosen.label, spec.classes)
    count = source.count() if raw is None else len(raw)
    if not count:
        raise no_rows()
    if count > MAX_ROWS:
        raise InputRejected("limit_exceeded", f"At most {MAX_ROWS} rows can be taken in.")
    split, identity = spec.splits.column, spec.columns.id
    codes, given = (
        (all_train(count), frozenset[Part]())
        if split is None
        else parts(source.column(split, field="splits.column"))
    )
    ids = None if identity is None else _ids(source.column(identity, field="columns.id"), identity)
    block = source.block(chosen.inputs, count, spec=spec, work=work, limits=limits)
    return Rows((block,), raw, codes, given, names, ids)


def choose(spec: DatasetSpec, present: Sequence[str]) -> Chosen:
    """Find the columns that the specification names, or the modality's own.

    Args:
        spec: the dataset's.
        present: the file's columns.

    Returns:
        Which columns are what.

    Raises:
        InputRejected: `column_missing`, `column_twice` or `columns_overlap`.
    """
    columns = spec.columns
    others = [columns.label, columns.id, spec.splits.column]
    named: list[tuple[str, str | None]] = [
        ("columns.label", columns.label),
        ("columns.id", columns.id),
        ("splits.column", spec.splits.column),
    ]
    inputs = _inputs(spec, [name for name in present if name not in others])
    occurrences = Counter(present)
    for field, name in [*named, *(("columns.input", name) for name in inputs)]:
        if name is not None and occurrences[name] != 1:
            raise InputRejected(
                "column_missing",
                f"There is no single column '{plain(name)}'; name one of "
                f"{', '.join(plain(column) for column in present[:10])}.",
                field=field,
                allowed=[plain(column) for column in present[:100]],
            )
    _check_inputs(inputs, {name for name in others if name is not None}, spec)
    return Chosen(inputs, columns.label)


def parts(values: Sequence[object]) -> tuple[npt.NDArray[np.int8], frozenset[Part]]:
    """Part indices of rows, and which parts they name.

    Args:
        values: the split column.

    Returns:
        (n,) indices into PARTS, and the parts.

    Raises:
        InputRejected: `split_unknown`.
    """
    unknown = {plain(value, 50) for value in values if str(value) not in SPELLINGS}
    if unknown:
        raise InputRejected(
            "split_unknown",
            f"The split column holds {', '.join(map(repr, sorted(unknown)[:5]))}; its values are "
            f"{', '.join(SPELLINGS)}.",
            field="splits.column",
            allowed=list(SPELLINGS),
        )
    found = [SPELLINGS[str(value)] for value in values]
    return np.asarray([PARTS.index(part) for part in found], np.int8), frozenset(found)


def no_rows() -> InputRejected:
    """The refusal of a file without rows."""
    return InputRejected(
        "dataset_empty", "The file has no rows; send at least two classes.", field="source"
    )


def column_type(name: str, kind: object, field: str, use: str) -> InputRejected:
    """The refusal of a column of the wrong type."""
    return InputRejected(
        "column_type", f"'{plain(name)}' is {plain(kind)}; it should hold {use}.", field=field
    )


def _inputs(spec: DatasetSpec, rest: list[str]) -> tuple[str, ...]:
    named = spec.columns.input
    if isinstance(named, tuple):
        return named
    if named is None and spec.modality not in _ONE_COLUMN:
        return tuple(rest)
    return (named or _ONE_COLUMN[spec.modality],)


def _check_inputs(inputs: tuple[str, ...], others: set[str], spec: DatasetSpec) -> None:
    if not inputs or (spec.modality == "text" and len(inputs) > 1):
        raise InputRejected(
            "column_missing" if not inputs else "column_twice",
            "There is no input column; name it in columns.input."
            if not inputs
            else "A text is read from one column; name that one in columns.input.",
            field="columns.input",
        )
    if len(set(inputs)) < len(inputs):
        raise InputRejected(
            "column_twice", "A column is named twice; name it once.", field="columns.input"
        )
    if not others.isdisjoint(inputs):
        raise InputRejected(
            "columns_overlap",
            f"'{plain(min(others & set(inputs)))}' is named as an input and as a label, an id or a "
            "split; a network that reads its label learns nothing. Leave it out of columns.input.",
            field="columns.input",
        )


def _ids(values: Sequence[object], name: str) -> tuple[str, ...]:
    ids = tuple(str(value) for value in values)
    for row, (value, text) in enumerate(zip(values, ids, strict=True)):
        is_sound = isinstance(value, str | int) and text.isprintable()
        if not is_sound or not 0 < len(text) <= MAX_ID_CHARACTERS:
            raise InputRejected(
                "id_invalid",
                f"'{plain(name)}' is '{plain(value, 50)}' in row {row}; an id is a whole number, "
                f"or 1 to {MAX_ID_CHARACTERS} printable characters.",
                field="columns.id",
            )
    return ids
