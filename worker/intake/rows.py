"""What every reader gives: rows in source order, with raw labels and undecoded images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

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
class Rows:
    """Rows in source order: the index into `labels` and `parts` is the row's number."""

    images: tuple[Pixels | Encoded, ...]
    """They follow each other."""
    labels: Array
    """(n,), int64 class indices or text."""
    parts: npt.NDArray[np.int8]
    """(n,), indices into PARTS."""
    given: frozenset[Part]
    """The parts that the source gives; empty: all rows are to be split."""
    classes: tuple[str, ...] | None = None
    """Names of integer labels, where the source brings them."""


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
    kinds = {(source.labels.dtype.kind == "i", source.classes) for source in ordered.values()}
    if len(kinds) > 1:
        raise InputRejected(
            "labels_differ", "The parts have labels of different kinds; label them alike."
        )
    codes = [
        np.full(len(source.labels), PARTS.index(part), np.int8) for part, source in ordered.items()
    ]
    return Rows(
        images=tuple(block for source in ordered.values() for block in source.images),
        labels=np.concatenate([source.labels for source in ordered.values()]),
        parts=np.concatenate(codes),
        given=frozenset(ordered),
        classes=next(iter(ordered.values())).classes,
    )
