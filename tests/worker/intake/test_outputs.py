from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker import sandbox
from worker.intake import teacher

DATASET = "ds_" + "d" * 26
ROWS = 6
CLASSES = ["ant", "bee", "cat"]
SPLITS = {"train": [0, 2, 3], "validation": [1], "test": [4, 5]}


class Said:
    """What was taken in."""

    def __init__(self, result: dict[str, Any], path: Path) -> None:
        self.result = result
        with np.load(path) as arrays:
            self.outputs, self.rows = arrays["outputs"], arrays["rows"]


@pytest.fixture
def take(intake: Any, npz: Callable[..., Path]) -> Callable[..., Said]:
    """Takes outputs in, for a dataset of six rows in three classes."""

    def take(
        kind: str, /, *, ours: list[str] | None = None, source: Path | None = None,
        named: list[str] | None = None, unlabelled: bool = False, **arrays: Any,
    ) -> Said:  # fmt: skip
        sources = {
            "outputs": source or npz("outputs.npz", **arrays),
            "splits.json": intake.write("splits.json", json.dumps(SPLITS).encode()),
        }
        if ours is not None:
            sources["ids.npz"] = npz("ids.npz", ids=np.asarray(ours))
        work = intake.folder / "work"
        work.mkdir()
        spec = {
            "name": "remote",
            "network": {"family": "outputs"},
            "outputs": {"dataset": DATASET, "blob": "0" * 64, "kind": kind},
            "classes": named,
        }
        result, [file] = teacher.take(
            {
                "type": "intake",
                "kind": "teacher",
                "spec": spec,
                "sources": {name: str(path) for name, path in sources.items()},
                "dataset_classes": [] if unlabelled else CLASSES,
                "work": str(work),
                "limits": {**sandbox.LIMITS},
            }
        )
        assert file["path"] == "outputs.npz"
        return Said(result, Path(file["file"]))

    return take


@pytest.fixture
def logits() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)


def test_logits_are_kept_in_the_order_of_the_source(
    take: Callable[..., Said], logits: np.ndarray[Any, Any]
) -> None:
    said = take("logits", outputs=logits.astype(np.float64))
    assert said.outputs.dtype == np.float32
    np.testing.assert_array_equal(said.outputs, logits)
    np.testing.assert_array_equal(said.rows, np.arange(ROWS))
    assert said.result["network"] == {"family": "outputs"}
    assert said.result["class_count"] == 3
    assert said.result["classes"] is None


def test_with_ids_the_order_does_not_matter(
    take: Callable[..., Said], logits: np.ndarray[Any, Any]
) -> None:
    ours = [f"row {number}" for number in range(ROWS)]
    shuffled = np.asarray([3, 0, 5, 1, 4, 2])
    ids = np.asarray(ours)[shuffled]
    said = take("logits", ours=ours, outputs=logits[shuffled], ids=ids)
    np.testing.assert_array_equal(said.outputs, logits)


def test_ids_may_be_integers(take: Callable[..., Said], logits: np.ndarray[Any, Any]) -> None:
    backwards = np.arange(ROWS)[::-1]
    ours = [str(number) for number in range(ROWS)]
    said = take("logits", ours=ours, outputs=logits[backwards], ids=backwards)
    np.testing.assert_array_equal(said.outputs, logits)


def test_probabilities_become_their_finite_logarithms(take: Callable[..., Said]) -> None:
    probabilities = np.tile(np.asarray([[0.7, 0.3, 0.0]], np.float64), (ROWS, 1))
    said = take("probabilities", outputs=probabilities)
    assert np.isfinite(said.outputs).all()
    np.testing.assert_allclose(np.exp(said.outputs), probabilities, atol=1e-6)
    assert said.outputs[0, 2] == pytest.approx(np.log(1e-12))


@pytest.mark.parametrize("by_name", [True, False])
def test_labels_are_certain_and_finite(*, by_name: bool, take: Callable[..., Said]) -> None:
    numbers = np.asarray([2, 0, 1, 1, 0, 2])
    said = take("labels", outputs=np.asarray(CLASSES)[numbers] if by_name else numbers)
    np.testing.assert_array_equal(said.outputs.argmax(axis=1), numbers)
    np.testing.assert_array_equal(said.outputs.max(axis=1), 0)
    assert np.isfinite(said.outputs).all()
    assert said.result["classes"] == (CLASSES if by_name else None)


def test_named_columns_keep_their_names(
    take: Callable[..., Said], logits: np.ndarray[Any, Any]
) -> None:
    said = take("logits", named=["cat", "ant", "bee"], outputs=logits)
    assert said.result["classes"] == ["cat", "ant", "bee"]


def whole(shape: tuple[int, ...] = (ROWS, 3)) -> np.ndarray[Any, Any]:
    return np.full(shape, 1 / 3)


def with_value(value: float) -> np.ndarray[Any, Any]:
    changed = whole()
    changed[4, 1] = value
    return changed


IDS = [str(number) for number in range(ROWS)]
BAD: dict[str, tuple[str, str, dict[str, Any]]] = {
    "another number of rows": ("outputs_rows_differ", "logits", {"outputs": whole((5, 3))}),
    "the train rows alone": ("outputs_rows_differ", "labels", {"outputs": np.zeros(3, np.int64)}),
    "another number of classes": ("class_count_differs", "logits", {"outputs": whole((6, 4))}),
    "a sum of two": ("probabilities_invalid", "probabilities", {"outputs": with_value(4 / 3)}),
    "a negative probability": (
        "probabilities_invalid", "probabilities",
        {"outputs": np.tile([[-0.5, 0.5, 1.0]], (ROWS, 1))},
    ),
    "NaN": ("outputs_not_finite", "logits", {"outputs": with_value(np.nan)}),
    "beyond float32": ("outputs_not_finite", "logits", {"outputs": with_value(1e300)}),
    "integers as logits": ("outputs_invalid", "logits", {"outputs": np.ones((6, 3), int)}),
    "one column": ("outputs_invalid", "logits", {"outputs": whole((6,))}),
    "columns of labels": ("outputs_invalid", "labels", {"outputs": np.ones((6, 3), int)}),
    "a label beyond": ("label_unknown", "labels", {"outputs": np.full(ROWS, 3)}),
    "a negative label": ("label_unknown", "labels", {"outputs": np.full(ROWS, -1)}),
    "a name that is none": ("label_unknown", "labels", {"outputs": np.full(ROWS, "dog")}),
    "no outputs": ("npz_keys", "logits", {"y": whole()}),
    "more than outputs": ("npz_keys", "logits", {"outputs": whole(), "y": whole()}),
    "objects": ("npz_object_array", "logits", {"outputs": np.asarray([{}] * ROWS)}),
    "ids that nobody knows": ("ids_unknown", "logits", {"outputs": whole(), "ids": np.arange(6)}),
    "no ids": ("ids_missing", "logits", {"outputs": whole(), "ours": IDS}),
    "an id twice": (
        "ids_not_unique", "logits", {"outputs": whole(), "ids": np.zeros(6, int), "ours": IDS},
    ),
    "other ids": (
        "ids_unknown", "logits", {"outputs": whole(), "ids": np.arange(1, 7), "ours": IDS},
    ),
    "too few ids": (
        "outputs_rows_differ", "logits", {"outputs": whole(), "ids": np.arange(5), "ours": IDS},
    ),
    "one id": (
        "outputs_rows_differ", "logits", {"outputs": whole(), "ids": np.asarray(5), "ours": IDS},
    ),
    "ids of floats": (
        "outputs_invalid", "logits", {"outputs": whole(), "ids": np.arange(6.0), "ours": IDS},
    ),
    "ids that are no text": (
        "outputs_invalid", "logits",
        {"outputs": whole(), "ids": np.full(6, 0x7FFFFFFF, "<u4").view("<U1"), "ours": IDS},
    ),
    "an unlabelled dataset": ("labels_missing", "logits", {"outputs": whole(), "unlabelled": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_outputs_that_do_not_fit_are_refused(
    name: str, take: Callable[..., Said], refused: Callable[..., Any]
) -> None:
    code, kind, given = BAD[name]
    found = refused(code, lambda: take(kind, **given))
    assert found.field is None or found.field.startswith("outputs")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04N.", b"a,b\n"])
def test_what_is_no_npz_is_refused(
    content: bytes, intake: Any, take: Callable[..., Said], refused: Callable[..., Any]
) -> None:
    path = intake.write("bad.npz", content)
    code = "format_not_supported" if not content.startswith(b"PK") else "zip_invalid"
    refused(code, lambda: take("logits", source=path))
