from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker.engine.data.parts import UNLABELLED, open_part

NO_LABEL = {"label": None}
ROWS = [{"text": f"t{row}", "a": row, "w": [row, 1], "id": f"r{row}"} for row in range(12)]


def check(taken: Any, count: int) -> None:
    result = taken.result
    assert result["rows"] == {"train": 0, "validation": 0, "test": 0, "unlabelled": count}
    assert result["class_counts"] == {"train": [], "validation": [], "test": []}
    assert result["classes"] == []
    assert result["warnings"] == []
    assert set(taken.files) & {"train.npz", "validation.npz", "test.npz"} == {"train.npz"}
    part = open_part(taken.files["train.npz"])
    assert part.labels.tolist() == [UNLABELLED] * count
    assert part.rows.tolist() == list(range(count))
    splits = json.loads(taken.files["splits.json"].read_text())
    assert splits == {"train": list(range(count)), "validation": [], "test": []}
    assert all(row["label"] is None and row["class"] is None for row in result["preview"])
    assert len(result["preview"]) == min(count, 10)


COLUMNS = {"text": "text", "tabular": "a", "sequence": "w"}


@pytest.mark.parametrize("modality", COLUMNS)
def test_a_table_without_labels_is_all_for_training(
    modality: str, intake: Any, jsonl: Callable[..., Path], parquet: Callable[..., Path]
) -> None:
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    said = {"modality": modality, "columns": {"input": COLUMNS[modality], **NO_LABEL}}
    for source in (jsonl(*ROWS), parquet(columns)):
        check(intake.dataset(source, **said), 12)


def test_a_csv_file_without_labels_counts_its_rows(intake: Any) -> None:
    content = "\n".join(["a,b", *(f"{row},x" for row in range(12))]).encode()
    source = intake.write("t.csv", content)
    check(intake.dataset(source, modality="tabular", columns=NO_LABEL), 12)


def test_arrays_may_lack_labels_or_have_some_that_are_not_wanted(
    intake: Any, npz: Callable[..., Path], digits: Any
) -> None:
    x, y = digits
    for arrays in ({"x": x}, {"x": x, "y": y}):
        taken = intake.dataset(npz(**arrays), columns=NO_LABEL)
        check(taken, 60)
        assert np.array_equal(taken.part("train")["x"][..., 0], x)


def test_a_folder_of_images_without_classes_is_read_in_the_order_of_its_paths(
    intake: Any, folder_zip: Callable[..., Path], png: Callable[..., bytes]
) -> None:
    files = {"b/deep/1.png": png(1), "2.png": png(2), "a/3.png": png(3)}
    taken = intake.dataset(folder_zip(files), columns=NO_LABEL)
    check(taken, 3)
    tops = [taken.part("train")["x"][row, 0, 0, 0] for row in range(3)]
    expected = [
        np.random.default_rng(seed).integers(0, 256, (4, 4), np.uint8) for seed in (2, 3, 1)
    ]
    assert tops == [image[0, 0] for image in expected]


def test_parts_of_an_unlabelled_source_are_not_merged_in_silence(
    intake: Any, npz: Callable[..., Path], digits: Any, refused: Callable[..., Any]
) -> None:
    source = npz(x_train=digits[0], x_test=digits[0])
    refused("split_conflicts", lambda: intake.dataset(source, columns=NO_LABEL))
