"""csv with a header line: a label, and one numeric column a pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from stillhouse.errors import InputRejected
from stillhouse.spec import DatasetSpec
from worker.intake import labels, tables
from worker.intake.rows import Array, Rows, all_train
from worker.protocol import IntakeLimits

_BLOCK_BYTES = 8 << 20  # a line must fit


def read(path: Path, work: Path, spec: DatasetSpec, limits: IntakeLimits) -> Rows:
    """The rows of a csv file in UTF-8, in its order; pixels are written to the work folder."""
    try:
        return _read(path, work, spec, limits)
    except (pa.ArrowException, OSError, KeyError, OverflowError) as error:
        if isinstance(error, MemoryError):
            raise
        reason = str(error).partition("\n")[0][:300]
        raise InputRejected(
            "csv_invalid", f"The csv file can't be read: {reason}. Repair that line."
        ) from error


def _read(path: Path, work: Path, spec: DatasetSpec, limits: IntakeLimits) -> Rows:
    with _open(path, {}) as reader:
        label = tables.check_columns(spec, reader.schema.names)
    if isinstance(spec.columns.input, str):
        raise InputRejected(
            "csv_images",
            "A csv file holds no images; list its pixel columns in columns.input, or send an "
            "archive of folders (class/file) or parquet.",
            field="columns.input",
        )
    texts = _texts(path, label)
    splits = None if spec.splits.column is None else _texts(path, spec.splits.column)
    parts, given = (all_train(len(texts)), frozenset()) if splits is None else tables.parts(splits)
    columns = spec.columns.input
    images = tables.pixels(
        lambda: _pixels(path, columns),
        dtype=None,
        wanted=spec.input,
        path=work / f"pixels-{path.name}.npy",
        limits=limits,
    )
    raw = labels.read_text(np.asarray(texts, np.str_), name=label, classes=spec.classes)
    return Rows((images,), raw, parts, given)


def _open(path: Path, types: dict[str, pa.DataType]) -> pa.csv.CSVStreamingReader:
    return pa.csv.open_csv(
        path,
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
        convert_options=pa.csv.ConvertOptions(
            column_types=types, include_columns=list(types), strings_can_be_null=False
        ),
    )


def _texts(path: Path, column: str) -> list[str]:
    with _open(path, {column: pa.string()}) as reader:
        return [text for batch in reader for text in batch.column(0).to_pylist()]


def _pixels(path: Path, columns: Sequence[str]) -> Iterator[Array]:
    with _open(path, dict.fromkeys(columns, pa.float64())) as reader:
        for batch in reader:
            arrays = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
            yield np.stack(arrays, axis=1)
