"""csv with a header line: a label, and columns of numbers or text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from stillhouse.errors import InputRejected
from stillhouse.spec import DatasetSpec, InputSpec
from worker.intake import labels, pixels, tables
from worker.intake.rows import Array, Block, Rows, Series, Table, Texts
from worker.intake.words import plain
from worker.protocol import IntakeLimits

_BLOCK_BYTES = 8 << 20  # a line must fit
_MISSING = pa.array(["", "nan", "null"])  # in any case of letters, with any space around


def read(path: Path, work: Path, spec: DatasetSpec, limits: IntakeLimits) -> Rows:
    """The rows of a csv file in UTF-8, in its order; pixels are written to the work folder."""
    return tables.read(_Csv(path), work, spec, limits)


@dataclass(frozen=True, slots=True)
class _Csv:
    path: Path

    def names(self) -> Sequence[str]:
        with _reading(), self._open({}) as reader:
            names: list[str] = reader.schema.names
        return names

    def labels(
        self, name: str, classes: tuple[str, ...] | None
    ) -> tuple[Array, tuple[str, ...] | None]:
        texts = labels.as_text(self.column(name, field="columns.label"))
        return labels.read_text(texts, name=name, classes=classes), None

    def column(self, name: str, *, field: str) -> list[str]:
        del field  # Everything is text here.
        return [text for (column,) in self._texts([name]) for text in column.to_pylist()]

    def count(self) -> int:
        return sum(len(column) for (column,) in self._texts(self.names()[:1]))

    def block(
        self, inputs: tuple[str, ...], count: int, *, spec: DatasetSpec, work: Path,
        limits: IntakeLimits,
    ) -> Block:  # fmt: skip
        match spec.modality:
            case "text":
                return Texts(count, lambda: (c.to_pylist() for (c,) in self._texts(inputs)))
            case "tabular":
                return Table(count, inputs, typed=False, read=self._cells)
            case "sequence":
                return Series(count, lambda: (m[..., None] for m in self._numbers(inputs)))
            case _:
                return self._images(inputs, spec, work, limits)

    def _images(
        self, inputs: tuple[str, ...], spec: DatasetSpec, work: Path, limits: IntakeLimits
    ) -> Block:
        if not isinstance(spec.columns.input, tuple):
            raise InputRejected(
                "csv_images",
                "A csv file holds no images; list its pixel columns in columns.input, or send an "
                "archive of folders (class/file) or parquet.",
                field="columns.input",
            )
        return pixels.of_columns(
            lambda: self._numbers(inputs),
            dtype=None,
            wanted=spec.input if isinstance(spec.input, InputSpec) else None,
            path=work / f"pixels-{self.path.name}.npy",
            limits=limits,
        )

    def _open(self, types: dict[str, pa.DataType]) -> pa.csv.CSVStreamingReader:
        return pa.csv.open_csv(
            self.path,
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types=types, include_columns=list(types), strings_can_be_null=False
            ),
        )

    def _texts(self, names: Sequence[str]) -> Iterator[list[pa.Array]]:
        with _reading(), self._open(dict.fromkeys(names, pa.string())) as reader:
            for batch in reader:
                yield batch.columns

    def _cells(self, names: Sequence[str]) -> Iterator[list[pa.Array]]:
        for columns in self._texts(names):
            yield [_without_missing(column) for column in columns]

    def _numbers(self, names: Sequence[str]) -> Iterator[Array]:
        with _reading(), self._open(dict.fromkeys(names, pa.float64())) as reader:
            for batch in reader:
                arrays = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
                yield np.stack(arrays, axis=1)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Arrow's own complaints as a refusal."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, OverflowError, UnicodeDecodeError) as error:
        if isinstance(error, MemoryError):
            raise
        reason = plain(str(error).partition("\n")[0], 300)
        raise InputRejected(
            "csv_invalid", f"The csv file can't be read: {reason}. Repair that line."
        ) from error


def _without_missing(texts: pa.Array) -> pa.Array:
    trimmed = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
    return pc.if_else(pc.is_in(trimmed, value_set=_MISSING), pa.scalar(None, pa.string()), texts)
