"""The split: which rows are train, validation and test, by a rule that anyone can repeat.

Rows are numbered from 0 in source order: a table by its own order; npz, folders and one
source a part by train's rows first, then validation's, then test's. Parts that the source
gives stand. What is missing is carved from train: per class, its n rows are ordered by the
SHA-256 (in hexadecimal) of "{seed}:{row}"; the first floor(f*n + 1/2) are test, the next
validation.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt

from stillhouse.errors import InputRejected
from stillhouse.spec import Splits
from worker.intake.rows import PARTS, Part

DEFAULTS: dict[Part, float] = {"validation": 0.1, "test": 0.2}
Indices = npt.NDArray[np.int64]


def split(
    labels: Indices, parts: npt.NDArray[np.int8], given: frozenset[Part], splits: Splits
) -> dict[Part, Indices]:
    """The row numbers of each part, ascending.

    Args:
        labels: (n,), class indices.
        parts: (n,), where the source puts each row.
        given: the parts that the source gives.
        splits: fractions and seed.

    Returns:
        Row numbers by part; a part whose fraction is 0 is absent.

    Raises:
        InputRejected: `split_conflicts` or `dataset_empty`.
    """
    fractions = _fractions(given, splits)
    found = {part: np.flatnonzero(parts == PARTS.index(part)) for part in PARTS}
    carved = _carve(labels, found["train"], fractions, seed=splits.seed)
    found |= {part: rows for part, rows in carved.items() if part == "train" or part not in given}
    kept = {part for part in PARTS if part == "train" or part in given or fractions.get(part)}
    for part in kept:
        if not len(found[part]):
            raise InputRejected(
                "dataset_empty",
                f"The part '{part}' has no rows. Send more rows (a class needs at least two or "
                "three to be split), or set its fraction to 0.",
                field=f"splits.{part}" if part != "train" else "source",
            )
    return {part: found[part] for part in PARTS if part in kept}


def _fractions(given: frozenset[Part], splits: Splits) -> dict[Part, float]:
    asked = {"validation": splits.validation, "test": splits.test}
    fractions: dict[Part, float] = {}
    for part, default in DEFAULTS.items():
        fraction = asked[part]
        if part in given and fraction is not None:
            raise InputRejected(
                "split_conflicts",
                f"The source gives the part '{part}', so a fraction for it has no meaning; "
                f"leave splits.{part} out.",
                field=f"splits.{part}",
            )
        if part not in given:
            fractions[part] = default if fraction is None else fraction
    return fractions


def _carve(
    labels: Indices, train: Indices, fractions: dict[Part, float], *, seed: int
) -> dict[Part, Indices]:
    cut: dict[Part, list[int]] = {part: [] for part in PARTS}
    for label in np.unique(labels[train]):
        rows = [int(row) for row in train[labels[train] == label]]
        rows.sort(key=lambda row: hashlib.sha256(f"{seed}:{row}".encode()).hexdigest())
        tests, validations = (
            math.floor(fractions.get(part, 0.0) * len(rows) + 0.5)
            for part in ("test", "validation")
        )
        cut["test"] += rows[:tests]
        cut["validation"] += rows[tests : tests + validations]
        cut["train"] += rows[tests + validations :]
    return {part: np.asarray(sorted(rows), np.int64) for part, rows in cut.items()}
