"""What intake says of a dataset: how many rows of what, and what to beware of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from stillhouse.errors import InputRejected
from worker.intake.rows import PARTS, Indices, Part
from worker.intake.words import plain

IMBALANCE = 10
"""From this ratio of the largest class to the smallest on, plain accuracy hides the small ones."""


def row_counts(split: Mapping[Part, Indices], *, is_labelled: bool) -> dict[str, int]:
    """Rows by part; without labels they are `unlabelled` and no part's."""
    counts: dict[str, int] = {part: len(split.get(part, ())) for part in PARTS}
    if is_labelled:
        return counts | {"unlabelled": 0}
    return dict.fromkeys(PARTS, 0) | {"unlabelled": counts["train"]}


def class_counts(
    indices: Indices, split: Mapping[Part, Indices], classes: Sequence[str]
) -> dict[Part, list[int]]:
    """Rows by part and class; no classes, no counts."""
    none = np.empty(0, np.int64)
    return {
        part: np.bincount(indices[split.get(part, none)], minlength=len(classes)).tolist()
        if classes
        else []
        for part in PARTS
    }


def warnings(train: list[int], classes: list[str]) -> list[dict[str, str]]:
    """What to beware of.

    Args:
        train: rows by class in the train part.
        classes: their names.

    Returns:
        `{code, message}` each.
    """
    found = []
    empty = [name for name, count in zip(classes, train, strict=True) if not count]
    if empty:
        named = ", ".join(plain(name, 50) for name in empty[:5])
        said = f"{len(empty)} classes have no train rows ({named}); no student can learn them."
        found.append({"code": "classes_without_rows", "message": said})
    counts = [count for count in train if count]
    if counts and max(counts) >= IMBALANCE * min(counts):
        said = (
            f"The largest class has {max(counts)} train rows, the smallest {min(counts)} "
            f"('{plain(classes[train.index(min(counts))], 50)}'). Give the objective `labels` "
            "class_weights 'balanced', and select by 'validation_balanced_accuracy'."
        )
        found.append({"code": "classes_imbalanced", "message": said})
    return found


def check_unique(ids: Sequence[str]) -> None:
    """Refuse ids that name two rows.

    Args:
        ids: one a row.

    Raises:
        InputRejected: `ids_not_unique`.
    """
    if len(set(ids)) == len(ids):
        return
    twice, _ = Counter(ids).most_common(1)[0]
    raise InputRejected(
        "ids_not_unique",
        f"The id '{plain(twice, 50)}' names several rows; give each row its own, or leave "
        "columns.id out.",
        field="columns.id",
    )
