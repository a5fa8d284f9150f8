"""Parquet: encoded images (as Hugging Face's datasets store them), or pixels."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from stillhouse.errors import InputRejected
from stillhouse.spec import DatasetSpec
from worker.intake import labels, tables
from worker.intake.rows import Array, Encoded, Pixels, Rows, all_train
from worker.protocol import IntakeLimits

_BATCH_ROWS = 64  # a dictionary can repeat one large value: few rows bound what it becomes


def read(path: Path, work: Path, spec: DatasetSpec, limits: IntakeLimits) -> Rows:
    """The rows of a parquet file, in its order; pixels are written to the work folder."""
    with _reading(), pa.parquet.ParquetFile(path) as file:
        return _read(file, path, work, spec, limits)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Arrow's own complaints as a refusal."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        if isinstance(error, MemoryError):
            raise
        reason = str(error).partition("\n")[0][:300]
        raise InputRejected(
            "parquet_invalid", f"The parquet file can't be read: {reason}. Write it again."
        ) from error


def _read(
    file: pa.parquet.ParquetFile, path: Path, work: Path, spec: DatasetSpec, limits: IntakeLimits
) -> Rows:
    schema = file.schema_arrow
    label = tables.check_columns(spec, schema.names)
    if file.metadata.num_rows > tables.MAX_ROWS:
        raise InputRejected("limit_exceeded", f"At most {tables.MAX_ROWS} rows can be taken in.")
    raw = _labels(file, label)
    splits = spec.splits.column
    parts, given = (
        (all_train(len(raw)), frozenset())
        if splits is None
        else tables.parts(_column(file, splits).to_pylist())
    )
    images: Encoded | Pixels
    if isinstance(spec.columns.input, str) and _is_encoded(schema.field(spec.columns.input).type):
        images = _encoded(path, spec.columns.input, len(raw), limits)
    else:
        images = _pixels(file, path, work, spec, limits)
    return Rows((images,), raw, parts, given, _class_names(schema, label, raw))


def _labels(file: pa.parquet.ParquetFile, name: str) -> Array:
    column = _column(file, name)
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if column.null_count:
        raise InputRejected(
            "labels_missing",
            f"'{name}' is null in {column.null_count} rows; every row needs its label.",
            field="columns.label",
        )
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return np.asarray(column.to_pylist(), np.str_)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise _column_type(name, kind, "columns.label", "numbers or text")
    return labels.read(column.to_numpy(), name=name)


def _column(file: pa.parquet.ParquetFile, name: str) -> pa.ChunkedArray:
    return file.read(columns=[name], use_threads=False).column(name)


def _class_names(schema: pa.Schema, label: str, raw: Array) -> tuple[str, ...] | None:
    """The names that Hugging Face's datasets write beside integer labels."""
    if raw.dtype.kind != "i":
        return None
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


def _encoded(path: Path, name: str, count: int, limits: IntakeLimits) -> Encoded:
    def contents() -> Iterator[bytes]:
        left = limits["decoded_bytes"]
        with _reading(), pa.parquet.ParquetFile(path) as file:
            for batch in _batches(file, [name]):
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
    file: pa.parquet.ParquetFile, path: Path, work: Path, spec: DatasetSpec, limits: IntakeLimits
) -> Pixels:
    named = spec.columns.input
    names = [named] if isinstance(named, str) else list(named)
    dtype: np.dtype[Any] = np.result_type(
        *(_pixel_dtype(file.schema_arrow, name) for name in names)
    )

    def batches() -> Iterator[Array]:
        with pa.parquet.ParquetFile(path) as again:
            for batch in _batches(again, names):
                yield np.concatenate([_matrix(batch.column(name)) for name in names], axis=1)

    return tables.pixels(
        batches,
        dtype=dtype,
        wanted=spec.input,
        path=work / f"pixels-{path.name}.npy",
        limits=limits,
    )


def _batches(file: pa.parquet.ParquetFile, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=list(names), use_threads=False)


def _pixel_dtype(schema: pa.Schema, name: str) -> np.dtype[Any]:
    kind = schema.field(name).type
    value = kind.value_type if _is_list(kind) else kind
    if not (pa.types.is_integer(value) or pa.types.is_floating(value)):
        raise _column_type(
            name, kind, "columns.input", "encoded images (binary), numbers or lists of numbers"
        )
    dtype: np.dtype[Any] = np.dtype(value.to_pandas_dtype())
    return dtype


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _matrix(column: pa.Array) -> Array:
    """(rows, pixels) of a number or of lists of one length."""
    if not _is_list(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False))[:, None]
    flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False))
    lengths = {len(item) if item is not None else 0 for item in column.to_pylist()}
    if len(lengths) != 1 or not len(flat):
        raise InputRejected(
            "pixel_count", "The lists of pixels differ in length.", field="columns.input"
        )
    return flat.reshape(len(column), -1)


def _column_type(name: str, kind: pa.DataType, field: str, use: str) -> InputRejected:
    return InputRejected(
        "column_type", f"'{name}' is {str(kind)[:100]}; it should hold {use}.", field=field
    )
