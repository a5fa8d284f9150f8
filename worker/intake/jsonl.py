"""jsonl: one JSON object a line, read strictly (RFC 8259), a line at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stillhouse.errors import InputRejected
from stillhouse.spec import DatasetSpec
from worker.intake import cells, labels, series, tables
from worker.intake.rows import Array, Block, Rows, Series, Table, Texts
from worker.intake.words import plain
from worker.protocol import IntakeLimits

MAX_LINE_BYTES = 8 << 20
MAX_KEYS = 10_000
_BATCH_ROWS = 256
_BOM = b"\xef\xbb\xbf"

Row = dict[str, Any]


def read(path: Path, work: Path, spec: DatasetSpec, limits: IntakeLimits) -> Rows:
    """The rows of a jsonl file in UTF-8, in its order; lines of white space are skipped."""
    names: dict[str, None] = {}
    count = 0
    for row in _rows(path):
        count += 1
        names |= dict.fromkeys(row)
        if len(names) > MAX_KEYS:
            raise InputRejected(
                "too_many_columns",
                f"The rows have more than {MAX_KEYS} different keys; use the same ones in all.",
                field="source",
            )
    if not count:
        raise tables.no_rows()
    return tables.read(_Jsonl(path, tuple(names), count), work, spec, limits)


@dataclass(frozen=True, slots=True)
class _Jsonl:
    path: Path
    keys: tuple[str, ...]
    rows: int

    def names(self) -> Sequence[str]:
        return self.keys

    def labels(
        self, name: str, classes: tuple[str, ...] | None
    ) -> tuple[Array, tuple[str, ...] | None]:
        del classes  # The types tell names from numbers.
        found = [row.get(name) for row in _rows(self.path)]
        if None in found:
            raise InputRejected(
                "labels_missing",
                f"'{plain(name)}' is missing or null in row {found.index(None)}; every row needs "
                "its label.",
                field="columns.label",
            )
        texts = [value for value in found if isinstance(value, str)]
        if len(texts) == len(found):
            return labels.as_text(texts), None
        if not all(isinstance(value, int | float) for value in found):
            raise tables.column_type(name, "mixed", "columns.label", "only numbers, or only text")
        return labels.read(np.asarray(found), name=name), None

    def column(self, name: str, *, field: str) -> list[object]:
        found = [row.get(name) for row in _rows(self.path)]
        if any(isinstance(value, bool | float | list | dict) for value in found):
            raise tables.column_type(name, "mixed", field, "text or whole numbers")
        return found

    def count(self) -> int:
        return self.rows

    def block(
        self, inputs: tuple[str, ...], count: int, *, spec: DatasetSpec, work: Path,
        limits: IntakeLimits,
    ) -> Block:  # fmt: skip
        del work, limits  # Items are decoded later.
        match spec.modality:
            case "text":
                return Texts(count, lambda: self._texts(inputs[0]))
            case "tabular":
                return Table(count, inputs, typed=True, read=self._cells)
            case _:
                return Series(count, lambda: self._series(inputs))

    def _texts(self, name: str) -> Iterator[list[str | None]]:
        for batch in _batches(_rows(self.path)):
            texts = [row.get(name) for row in batch]
            if not all(text is None or isinstance(text, str) for text in texts):
                raise tables.column_type(name, "not always text", "columns.input", "text")
            yield texts

    def _cells(self, names: Sequence[str]) -> Iterator[list[pa.Array]]:
        for batch in _batches(_rows(self.path)):
            yield [_cells([row.get(name) for row in batch], name) for name in names]

    def _series(self, names: Sequence[str]) -> Iterator[Array]:
        at = 0
        for batch in _batches(_rows(self.path)):
            if len(names) == 1:
                values = [row.get(names[0]) for row in batch]
            else:
                values = [[row.get(name) for name in names] for row in batch]
            yield series.of_lists(values, first_row=at)
            at += len(batch)


def _rows(path: Path) -> Iterator[Row]:
    """The objects, one after another."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number)
    with path.open("rb") as file:
        if file.read(len(_BOM)) != _BOM:
            file.seek(0)
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise _invalid(number, f"it has more than {MAX_LINE_BYTES} bytes")
            if line.strip():
                yield _object(decoder, line, number)


def _object(decoder: json.JSONDecoder, line: bytes, number: int) -> Row:
    try:
        found = decoder.decode(line.decode())
    except UnicodeDecodeError as error:
        raise _invalid(number, "it is not UTF-8") from error
    except RecursionError as error:
        raise _invalid(number, "it is nested too deeply") from error
    except ValueError as error:  # among them integers of more than 4300 digits
        raise _invalid(number, plain(error)) from error
    if not isinstance(found, dict):
        raise _invalid(number, "it is no object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        message = "a key is there twice"
        raise ValueError(message)
    return found


def _no_number(word: str) -> float:
    message = f"{word} is no JSON"
    raise ValueError(message)


def _invalid(line: int, why: str) -> InputRejected:
    return InputRejected(
        "jsonl_invalid",
        f"Line {line} can't be read: {why}. Write one JSON object a line.",
        field="source",
    )


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    ahead = iter(rows)
    while batch := list(islice(ahead, _BATCH_ROWS)):
        yield batch


def _cells(values: list[Any], name: str) -> pa.Array:
    """Numbers if all values are, else text."""
    if any(isinstance(value, list | dict) for value in values):
        raise tables.column_type(
            name, "a list or an object", "columns.input", "one value a row, or stay out of it"
        )
    numeric = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in numeric):
        return _numbers(values)
    return pa.array([_text(value, name) for value in values], pa.string())


def _numbers(values: list[Any]) -> pa.Array:
    try:
        if all(value is None or isinstance(value, int) for value in values):
            return pa.array(values, pa.int64())
    except (pa.ArrowInvalid, OverflowError):
        pass  # beyond 64 bits: as near as a float comes
    return pa.array([None if value is None else _float(value) for value in values], pa.float64())


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _text(value: Any, name: str) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return cells.written(value)
    try:
        return None if value is None else str(value).encode().decode()
    except UnicodeEncodeError as error:
        kind = "at times half of a surrogate pair"
        raise tables.column_type(name, kind, "columns.input", "text of whole characters") from error
