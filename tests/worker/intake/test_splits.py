"""The split rule, against a second writing of it from the contract's words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def by_the_contract(
    labels: list[int], seed: int, validation: float, test: float
) -> dict[str, list[int]]:
    """Rows are numbered from 0 in source order, and per class ordered by the SHA-256 of
    "{seed}:{row}"; the first floor(f*n + 1/2) are test, the next validation."""
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for label in set(labels):
        rows = [row for row, its in enumerate(labels) if its == label]
        keys = {row: hashlib.sha256(f"{seed}:{row}".encode()).hexdigest() for row in rows}
        rows = sorted(rows, key=keys.__getitem__)
        first = int(np.floor(test * len(rows) + 1 / 2))
        second = int(np.floor(validation * len(rows) + 1 / 2))
        parts["test"] += rows[:first]
        parts["validation"] += rows[first : first + second]
        parts["train"] += rows[first + second :]
    return {part: sorted(rows) for part, rows in parts.items()}


@pytest.mark.parametrize(
    ("seed", "splits"), [(0, {}), (3, {"seed": 3}), (1, {"seed": 1, "validation": 0.25})]
)
def test_anyone_can_repeat_the_split(
    intake: Any, npz: Callable[..., Path], seed: int, splits: dict[str, Any]
) -> None:
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 256, (97, 3, 3), dtype=np.uint8)
    y = generator.integers(0, 5, 97)
    taken = intake.dataset(npz(x=x, y=y), splits=splits)
    expected = by_the_contract(y.tolist(), seed, splits.get("validation", 0.1), 0.2)
    assert json.loads(taken.files["splits.json"].read_text()) == expected
    for part, rows in expected.items():
        arrays = taken.part(part)
        assert arrays["rows"].tolist() == rows
        assert np.array_equal(arrays["x"][..., 0], x[rows])
        assert np.array_equal(arrays["y"], y[rows])


def test_parts_that_the_source_gives_stand_and_only_train_is_carved(
    intake: Any, npz: Callable[..., Path], digits: Any
) -> None:
    x, y = digits
    source = npz(x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    taken = intake.dataset(source)
    assert taken.part("test")["rows"].tolist() == list(range(40, 60))
    carved = by_the_contract(y[:40].tolist(), 0, 0.1, 0.0)
    assert taken.part("validation")["rows"].tolist() == carved["validation"]
    assert taken.part("train")["rows"].tolist() == carved["train"]


def test_a_fraction_for_a_part_that_the_source_gives_is_refused(
    intake: Any, npz: Callable[..., Path], digits: Any, refused: Callable[..., Any]
) -> None:
    x, y = digits
    source = npz(x_train=x, y_train=y, x_val=x[:9], y_val=y[:9])
    found = refused("split_conflicts", lambda: intake.dataset(source, splits={"validation": 0.1}))
    assert found.field == "splits.validation"


def test_a_fraction_of_zero_leaves_the_part_out(
    intake: Any, npz: Callable[..., Path], digits: Any
) -> None:
    x, y = digits
    taken = intake.dataset(npz(x=x, y=y), splits={"validation": 0})
    assert "validation.npz" not in taken.files
    assert taken.result["rows"] == {"train": 48, "validation": 0, "test": 12, "unlabelled": 0}


def test_too_few_rows_to_split_are_refused(
    intake: Any, npz: Callable[..., Path], digits: Any, refused: Callable[..., Any]
) -> None:
    x, y = digits
    refused("dataset_empty", lambda: intake.dataset(npz(x=x[:4], y=y[:4])))


def test_a_source_for_each_part_numbers_train_first(
    intake: Any, npz: Callable[..., Path], digits: Any
) -> None:
    x, y = digits
    sources = {
        "test": npz("b.npz", x=x[50:], y=y[50:]),
        "train": npz("a.npz", x=x[:50], y=y[:50]),
    }
    taken = intake.dataset(sources, splits={"validation": 0})
    assert taken.part("train")["rows"].tolist() == list(range(50))
    assert taken.part("test")["rows"].tolist() == list(range(50, 60))
