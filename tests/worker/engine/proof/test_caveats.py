from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from worker.engine.proof import caveats
from worker.engine.proof.arms import Trained
from worker.protocol import Assignment, TeacherFiles

HERE, ELSEWHERE = "ds_here", "ds_elsewhere"
NAMES = {"tch_1": "'digits-resnet' (tch_1)"}


def _teacher(trained_on: Any) -> TeacherFiles:
    return {
        "id": "tch_1", "network": {}, "input": {}, "classes": None, "class_order": None,
        "trained_on": trained_on, "weights": "", "outputs": None, "outputs_kind": None, "bytes": 0,
    }  # fmt: skip


def _trained(arm: str, *, accuracy: float, loss: float = 1.0) -> Trained:
    figures = {"validation": {"accuracy": accuracy, "loss": loss}}
    return Trained(
        id=f"stu_{arm}", student="small", arm=arm, variant=None, seed=3, figures=figures,
        gap=None, correct=np.empty(0, dtype=bool), losses=np.empty(0), agreement=None,
        divergence=None, parameters=1, macs=0, bytes=0, latency=[],
    )  # fmt: skip


def _codes_after(*steps: int) -> dict[str, str]:
    """The warnings of a report on training runs of these lengths: code -> message."""
    students = [{"result": {"history": [{"step": 1}, {"step": count}]}} for count in steps]
    assignment = {"job_kind": "train", "teachers": [], "students": students, "context": {}}
    found = caveats.of_result(cast("Assignment", assignment), [], [], copies=0)
    return {warning["code"]: warning["message"] for warning in found}


def _seen(*parts: str, dataset: str = HERE) -> dict[str, Any]:
    return {"dataset": dataset, "parts": list(parts)}


CASES = [
    ("unknown", ["teacher_trained_on_unknown"], False, True),
    ("disjoint", [], False, False),
    (_seen("train"), [], False, False),
    (_seen("train", "validation"), ["teacher_saw_validation"], False, False),
    (_seen("train", "test"), ["teacher_saw_test"], True, False),
    (_seen("train", "test", dataset=ELSEWHERE), [], False, False),
]


@pytest.mark.parametrize(("trained_on", "codes", "doubted", "conditional"), CASES)
def test_what_a_teacher_saw_decides_what_a_verdict_may_say(
    trained_on: Any, codes: list[str], *, doubted: bool, conditional: bool
) -> None:
    standing = caveats.of_teachers([_teacher(trained_on)], dataset=HERE, names=NAMES)
    assert [warning["code"] for warning in standing.warnings] == codes
    assert bool(standing.doubts) is doubted
    assert all(NAMES["tch_1"] in warning["message"] for warning in standing.warnings)
    assert bool(standing.condition) is conditional


@pytest.mark.parametrize(
    ("trained_on", "meaningful"),
    [("unknown", False), (_seen("train", "validation"), True), (_seen("train", "test"), False)],
)
def test_a_gap_means_something_when_the_test_part_was_not_seen(
    trained_on: Any, *, meaningful: bool
) -> None:
    assert caveats.is_gap_meaningful(_teacher(trained_on), dataset=HERE) is meaningful


def test_how_often_the_test_part_was_read_is_a_sentence() -> None:
    assert caveats.opened_before(0).startswith("No job")
    assert "1 other job before" in caveats.opened_before(1)
    assert "12 other jobs before" in caveats.opened_before(12)


def test_a_training_run_of_few_steps_is_pointed_out_with_its_length() -> None:
    found = _codes_after(400, 99, 100)
    assert found.keys() == {"few_steps"}
    assert "The shortest training run took 99 optimizer steps in all." in found["few_steps"]
    assert "took 1 optimizer step in all." in _codes_after(1)["few_steps"]


def test_a_hundred_steps_are_enough() -> None:
    assert _codes_after(100, 400) == {}


def test_a_control_that_is_ahead_is_pointed_out_with_both_figures() -> None:
    students = [
        _trained("distilled", accuracy=0.91),
        _trained("no_teacher", accuracy=0.93),
        _trained("distilled", accuracy=0.90),
    ]
    (warning,) = caveats.of_ranking(students, select="validation_accuracy")
    assert warning["code"] == "control_is_ahead"
    assert "accuracy 0.9300 against 0.9100." in warning["message"]


def test_with_selection_by_loss_the_lower_one_is_ahead() -> None:
    students = [
        _trained("distilled", accuracy=0.91, loss=0.3),
        _trained("no_teacher", accuracy=0.90, loss=0.2),
    ]
    assert caveats.of_ranking(students, select="validation_accuracy") == []
    (warning,) = caveats.of_ranking(students, select="validation_loss")
    assert "loss 0.2000 against 0.3000." in warning["message"]


def test_figures_that_differ_are_written_so_that_it_shows() -> None:
    students = [
        _trained("distilled", accuracy=0.9123411),
        _trained("no_teacher", accuracy=0.9123422),
    ]
    (warning,) = caveats.of_ranking(students, select="validation_accuracy")
    assert "0.912342 against 0.912341" in warning["message"]


@pytest.mark.parametrize("arms", [("distilled", "no_teacher"), ("no_teacher",), ("distilled",)])
def test_a_control_is_not_ahead_when_it_is_equal_or_alone(arms: tuple[str, ...]) -> None:
    students = [_trained(arm, accuracy=0.9) for arm in arms]
    assert caveats.of_ranking(students, select="validation_accuracy") == []


@pytest.mark.parametrize(("rows", "said"), [(0, None), (1, "1 row of"), (1200, "1,200 rows of")])
def test_a_verdict_names_the_rows_that_transfer_sets_added(rows: int, said: str | None) -> None:
    assignment: Any = {
        "job_kind": "train", "teachers": [], "students": [], "context": {"transfer_rows": rows},
    }  # fmt: skip
    found = caveats.of_result(assignment, [], [], copies=0)
    sentence = caveats.of_transfer(assignment)
    assert [warning["message"] for warning in found] == ([sentence] if said else [])
    assert (said or "") in sentence


def test_a_job_that_distils_and_is_not_compared_says_so_with_or_without_a_teacher() -> None:
    for kind, codes in (("distill", ["not_compared"]), ("train", [])):
        assignment: Any = {"job_kind": kind, "teachers": [], "students": [], "context": {}}
        found = caveats.of_result(assignment, [], [], copies=0)
        assert [warning["code"] for warning in found] == codes


def test_test_rows_in_a_transfer_set_are_told() -> None:
    assert caveats.of_leak(0) == []
    (warning,) = caveats.of_leak(2)
    assert warning["code"] == "test_rows_in_transfer"
    assert warning["message"].startswith("2 test rows are")
