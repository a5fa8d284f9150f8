"""Parquet: encoded images (as Hugging Face's datasets store them), pixels, texts, numbers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from stillhouse.errors import InputRejected
from stillhouse.spec import DatasetSpec, InputSpec
from worker.intake import cells, labels, pixels, series, tables
from worker.intake.rows import Array, Block, Encoded, Pixels, Rows, Series, Table, Texts
from worker.intake.words import plain
from worker.protocol import IntakeLimits

_BATCH_ROWS = 64  # a dictionary can repeat one large value: few rows bound what it becomes
_NUMBER_ROWS = 4096


def read(path: Path, work: Path, spec: DatasetSpec, limits: IntakeLimits) -> Rows:
    """The rows of a parquet file, in its order; pixels are written to the work folder."""
    with _reading():
        schema = pa.parquet.read_schema(path)
    return tables.read(_Parquet(path, schema), work, spec, limits)


@dataclass(frozen=True, slots=True)
class _Parquet:
    path: Path
    schema: pa.Schema

    def names(self) -> Sequence[str]:
        with _reading():  # A name may be no UTF-8.
            names: list[str] = self.schema.names
        return names

    def labels(
        self, name: str, classes: tuple[str, ...] | None
    ) -> tuple[Array, tuple[str, ...] | None]:
        del classes  # The types tell names from numbers.
        column = self._column(name)
        if column.null_count:
            raise InputRejected(
                "labels_missing",
                f"'{plain(name)}' is null in {column.null_count} rows; every row needs its label.",
                field="columns.label",
            )
        kind = column.type
        if cells.is_text(kind):
            with _reading():
                return labels.as_text(column.to_pylist()), None
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not (is_number or pa.types.is_boolean(kind)):
            raise tables.column_type(name, kind, "columns.label", "numbers or text")
        raw = labels.read(column.to_numpy(), name=name)
        return raw, _class_names(self.schema, name)

    def column(self, name: str, *, field: str) -> Sequence[object]:
        column = self._column(name)
        if not (cells.is_text(column.type) or pa.types.is_integer(column.type)):
            raise tables.column_type(name, column.type, field, "text or whole numbers")
        with _reading():
            values: list[object] = column.to_pylist()
        return values

    def count(self) -> int:
        first = self.names()[:1]
        return sum(len(batch) for batch in self._batches(first))

    def block(
        self, inputs: tuple[str, ...], count: int, *, spec: DatasetSpec, work: Path,
        limits: IntakeLimits,
    ) -> Block:  # fmt: skip
        match spec.modality:
            case "text":
                self._require(inputs, cells.is_text, "text")
                return Texts(count, lambda: self._texts(inputs[0]))
            case "tabular":
                self._require(inputs, _is_cell, "numbers, truth values or text")
                return Table(count, inputs, typed=True, read=self._cells)
            case "sequence":
                return self._series(inputs, count)
            case _ if len(inputs) == 1 and _is_encoded(self.schema.field(inputs[0]).type):
                return self._encoded(inputs[0], count, limits)
            case _:
                return self._pixels(inputs, spec, work, limits)

    def _require(self, names: Sequence[str], is_right: Any, use: str) -> None:
        for name in names:
            kind = self.schema.field(name).type
            if not is_right(kind.value_type if pa.types.is_dictionary(kind) else kind):
                raise tables.column_type(name, kind, "columns.input", use)

    def _column(self, name: str) -> pa.ChunkedArray:
        with _reading(), pa.parquet.ParquetFile(self.path) as file:
            column = file.read(columns=[name], use_threads=False).column(name)
            is_dictionary = pa.types.is_dictionary(column.type)
            return column.cast(column.type.value_type) if is_dictionary else column

    def _batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        kinds = [self.schema.field(name).type for name in names]
        rows = _NUMBER_ROWS if all(map(cells.is_numeric, kinds)) else _BATCH_ROWS
        with _reading(), pa.parquet.ParquetFile(self.path) as file:
            yield from file.iter_batches(batch_size=rows, columns=list(names), use_threads=False)

    def _texts(self, name: str) -> Iterator[list[str | None]]:
        for batch in self._batches([name]):
            with _reading():
                yield cells.plain(batch.column(name)).to_pylist()

    def _cells(self, names: Sequence[str]) -> Iterator[list[pa.Array]]:
        for batch in self._batches(names):
            with _reading():
                columns = [cells.plain(batch.column(name)) for name in names]
                for column in columns:
                    column.validate(full=True)  # text that is UTF-8
            yield columns

    def _series(self, names: Sequence[str], count: int) -> Series:
        if len(names) == 1 and _is_list(self.schema.field(names[0]).type):
            return Series(count, lambda: self._lists(names[0]))
        self._require(names, cells.is_numeric, "numbers, or one column of lists of numbers")
        return Series(count, lambda: (matrix[..., None] for matrix in self._matrices(names)))

    def _lists(self, name: str) -> Iterator[Array]:
        row = 0
        for batch in self._batches([name]):
            yield series.of_lists(batch.column(name).to_pylist(), first_row=row)
            row += len(batch)

    def _matrices(self, names: Sequence[str]) -> Iterator[Array]:
        for batch in self._batches(names):
            yield np.concatenate([_matrix(batch.column(name)) for name in names], axis=1)

    def _encoded(self, name: str, count: int, limits: IntakeLimits) -> Encoded:
        def contents() -> Iterator[bytes]:
            left = limits["decoded_bytes"]
            for batch in self._batches([name]):
                column = batch.column(0)
                if pa.types.is_struct(column.type):
                    column = column.field("bytes")
                for content in column.to_pylist():
                    left -= len(content or b"")
                    if left < 0:
                        raise InputRejected("limit_exceeded", "The images take too many bytes.")
                    yield content or b""

        return Encoded(tuple(f"row {row}" for row in range(count)), contents)

    def _pixels(
        self, names: Sequence[str], spec: DatasetSpec, work: Path, limits: IntakeLimits
    ) -> Pixels:
        dtype: np.dtype[Any] = np.result_type(*(_pixel_dtype(self.schema, name) for name in names))
        return pixels.of_columns(
            lambda: self._matrices(names),
            dtype=dtype,
            wanted=spec.input if isinstance(spec.input, InputSpec) else None,
            path=work / f"pixels-{self.path.name}.npy",
            limits=limits,
        )


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Arrow's own complaints as a refusal."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        if isinstance(error, MemoryError):
            raise
        reason = plain(str(error).partition("\n")[0], 300)
        raise InputRejected(
            "parquet_invalid", f"The parquet file can't be read: {reason}. Write it again."
        ) from error


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """The names that Hugging Face's datasets write beside integer labels."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
        names = described["info"]["features"][label]["names"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_list and len(set(names)) == len(names) else None


def _is_encoded(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_encoded(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_cell(kind: pa.DataType) -> bool:
    return cells.is_numeric(kind) or cells.is_text(kind) or bool(pa.types.is_boolean(kind))


def _pixel_dtype(schema: pa.Schema, name: str) -> np.dtype[Any]:
    kind = schema.field(name).type
    value = kind.value_type if _is_list(kind) else kind
    if not (pa.types.is_integer(value) or pa.types.is_floating(value)):
        use = "encoded images (binary), numbers or lists of numbers"
        raise tables.column_type(name, kind, "columns.input", use)
    dtype: np.dtype[Any] = np.dtype(value.to_pandas_dtype())
    return dtype


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _matrix(column: pa.Array) -> Array:
    """(rows, values) of a number or of lists of one length."""
    if not _is_list(column.type):
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        return np.asarray(column.to_numpy(zero_copy_only=False))[:, None]
    flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False))
    lengths = {len(item) if item is not None else 0 for item in column.to_pylist()}
    if len(lengths) != 1 or not len(flat):
        raise InputRejected(
            "pixel_count", "The lists of pixels differ in length.", field="columns.input"
        )
    return flat.reshape(len(column), -1)
