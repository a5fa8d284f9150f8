"""What every reader gives: rows in source order, with raw labels and undecoded items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stillhouse.errors import InputRejected

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
SPELLINGS: dict[str, Part] = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
Array: TypeAlias = npt.NDArray[Any]
Indices: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pixels:
    """Images as an array."""

    array: Array
    """(n, height, width, channels), uint8 or floating point; often memory-mapped."""

    def __len__(self) -> int:
        return len(self.array)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Images as files."""

    names: tuple[str, ...]
    read: Callable[[], Iterator[bytes]]
    """All of them in order; may be called again."""

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts, a batch at a time."""

    count: int
    read: Callable[[], Iterator[Sequence[str | None]]]
    """All of them in order; may be called again."""

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of columns, a batch at a time."""

    count: int
    names: tuple[str, ...]
    typed: bool
    """False: all cells are text (csv), and a column of numbers is told by its texts."""
    read: Callable[[Sequence[str]], Iterator[Sequence[pa.Array]]]
    """Those columns of all rows in order, numbers or strings, null where missing; may be
    called again."""

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True, slots=True)
class Series:
    """Series of numbers, a batch at a time."""

    count: int
    read: Callable[[], Iterator[Array]]
    """(rows, length, channels) each, all of them in order; may be called again."""

    def __len__(self) -> int:
        return self.count


Block: TypeAlias = Pixels | Encoded | Texts | Table | Series


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in source order: the index into `parts` and `labels` is the row's number."""

    blocks: tuple[Block, ...]
    """The items, all of one modality; they follow each other."""
    labels: Array | None
    """(n,), int64 class indices or text; None: the rows are unlabelled."""
    parts: npt.NDArray[np.int8]
    """(n,), indices into PARTS."""
    given: frozenset[Part]
    """The parts that the source gives; empty: all rows are to be split."""
    classes: tuple[str, ...] | None = None
    """Names of integer labels, where the source brings them."""
    ids: tuple[str, ...] | None = None
    """(n,), by what another file may name the rows."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A dataset's items as they are stored (see `worker.engine.data.parts`)."""

    x: Array
    """(n, …); texts: (bytes,) uint8."""
    ends: Indices | None = None
    """(n,), texts only: where each one's bytes end."""

    def shape(self, rows: Indices) -> tuple[int, ...]:
        """The shape of `x` with these rows alone."""
        if self.ends is None:
            return (len(rows), *self.x.shape[1:])
        return (int(np.sum(self.ends[rows] - _starts(self.ends, rows))),)

    def take(self, rows: Indices) -> Iterable[Array]:
        """Some rows' items, each in one piece of memory."""
        if self.ends is None:
            return np.ascontiguousarray(self.x[rows])
        spans = zip(_starts(self.ends, rows), self.ends[rows], strict=True)
        return [self.x[start:end] for start, end in spans]


def _starts(ends: Indices, rows: Indices) -> Indices:
    return np.where(rows > 0, ends[rows - 1], 0)


def all_train(count: int) -> npt.NDArray[np.int8]:
    """Part indices of a source that gives no parts."""
    return np.zeros(count, np.int8)


def joined(sources: dict[Part, Rows]) -> Rows:
    """One source for each part: train's rows are numbered first, then validation's, then test's.

    Args:
        sources: what was read from each.

    Returns:
        All rows.

    Raises:
        InputRejected: `split_conflicts` if one of them brings parts of its own,
            `labels_differ` if they don't label alike.
    """
    for part, source in sources.items():
        if source.given:
            raise InputRejected(
                "split_conflicts",
                f"The source of '{part}' has parts of its own; name it alone as 'source', or "
                "send one part a file.",
                field="source",
            )
    ordered = {part: sources[part] for part in PARTS if part in sources}
    labels = [source.labels for source in ordered.values() if source.labels is not None]
    kinds = {label.dtype.kind == "i" for label in labels}
    if len(kinds) > 1 or len({source.classes for source in ordered.values()}) > 1:
        raise InputRejected(
            "labels_differ", "The parts have labels of different kinds; label them alike."
        )
    codes = [
        np.full(len(source.parts), PARTS.index(part), np.int8) for part, source in ordered.items()
    ]
    ids = [source.ids for source in ordered.values() if source.ids is not None]
    return Rows(
        blocks=tuple(block for source in ordered.values() for block in source.blocks),
        labels=np.concatenate(labels) if labels else None,
        parts=np.concatenate(codes),
        given=frozenset(ordered),
        classes=next(iter(ordered.values())).classes,
        ids=tuple(name for of_part in ids for name in of_part) if ids else None,
    )
