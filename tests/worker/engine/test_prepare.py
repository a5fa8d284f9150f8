from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import InputRejected
from tests.worker.conftest import INPUT, MLP, RESNET, TEACHER, Lab
from worker.engine import prepare
from worker.engine.stop import Stopped
from worker.protocol import Assignment, Message


def _quiet(_message: Message) -> None:
    pass


def _make(assignment: Assignment) -> dict[str, Any]:
    result, listing = prepare.make(assignment, say=_quiet)
    assert listing == []
    return result


def _refusal(assignment: Assignment) -> InputRejected:
    with pytest.raises(InputRejected) as refused:
        _make(assignment)
    return refused.value


def _students(*networks: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return [
        {"name": f"s{place}", "network": network, "input": INPUT} | fields
        for place, network in enumerate(networks)
    ]


def test_every_student_is_measured_by_real_steps(lab: Lab) -> None:
    spec = lab.spec(students=_students(MLP, RESNET))
    result = _make(lab.assignment("prepare", spec=spec))
    mlp, resnet = result["students"]["s0"], result["students"]["s1"]
    assert mlp["parameters"] == 64 * 24 + 24 + 24 * 10 + 10
    assert mlp["macs"] == 64 * 24 + 24 * 10
    assert mlp["bytes"] == 4 * mlp["parameters"]
    assert mlp["step_seconds"] > 0
    assert resnet["step_seconds"] > 0
    assert result["seconds"] > 0


def test_the_teacher_is_judged_on_train_and_validation(lab: Lab) -> None:
    result = _make(lab.assignment("prepare"))
    figures = result["teachers"][TEACHER]
    assert 0 <= figures["train"]["accuracy"] <= 1
    assert figures["validation"]["loss"] > 0
    assert figures["item_seconds"] > 0
    assert figures["parameters"] > 0
    assert result["teacher_forwards"] == 130 + 60


def test_the_test_part_is_never_opened(lab: Lab) -> None:
    assignment = lab.assignment("prepare")
    Path(assignment["dataset"]["parts"]["test"]).unlink()
    _make(assignment)


def test_an_estimate_leaves_the_teachers_metrics_out(lab: Lab) -> None:
    result = _make(lab.assignment("estimate"))
    figures = result["teachers"][TEACHER]
    assert figures["train"] is None
    assert figures["item_seconds"] > 0
    assert result["students"]["small"]["step_seconds"] > 0


def test_a_job_that_trains_a_teacher_has_none(lab: Lab) -> None:
    spec = lab.spec(teachers=[])
    result = _make(lab.assignment("prepare", spec=spec, teachers=[], job_kind="train"))
    assert result["teachers"] == {}
    assert result["teacher_forwards"] == 0


def test_a_batch_larger_than_the_data_is_refused(lab: Lab) -> None:
    refused = _refusal(lab.assignment("prepare", spec=lab.spec(training={"batch_size": 131})))
    assert refused.rejected_code == "batch_larger_than_data"
    assert refused.field == "training.batch_size"
    assert "130" in refused.detail


@pytest.mark.parametrize(
    ("part", "rows", "code"),
    [
        ("validation", (0, 0), "no_validation_rows"),
        ("train", (0, 0), "too_few_rows"),
        ("train", (0, 1), "too_few_rows"),
    ],
)
def test_parts_too_small_to_train_on_or_choose_by_are_refused(
    lab: Lab, part: str, rows: tuple[int, int], code: str
) -> None:
    assignment = lab.assignment("prepare")
    lab.part(part, rows=rows)
    assert _refusal(assignment).rejected_code == code


def test_a_dataset_without_a_validation_part_is_refused(lab: Lab) -> None:
    assignment = lab.assignment("prepare")
    del assignment["dataset"]["parts"]["validation"]
    assert _refusal(assignment).rejected_code == "no_validation_rows"


def test_what_is_wrong_with_a_student_names_its_field(lab: Lab) -> None:
    unknown = {"family": "timm", "name": "resnet18x", "options": {}}
    refused = _refusal(lab.assignment("prepare", spec=lab.spec(students=_students(MLP, unknown))))
    assert refused.rejected_code == "unknown_network"
    assert refused.field == "students.1.network.name"


def test_a_network_that_fails_only_in_training_is_refused(lab: Lab) -> None:
    # One item a step, and one pixel an item at its end: nothing to normalise over.
    tiny = {"family": "timm", "name": "resnet10t", "options": {}}
    spec = lab.spec(students=_students(tiny), training={"batch_size": 1})
    refused = _refusal(lab.assignment("prepare", spec=spec))
    assert refused.rejected_code == "network_not_trainable"
    assert refused.field == "students.0.network"


def test_standardizing_two_classes_is_refused(lab: Lab) -> None:
    spec = lab.spec(objective=[{"kind": "soft_targets", "standardize": True}])
    assignment = lab.assignment("prepare", spec=spec)
    assignment["dataset"]["classes"] = ["a", "b"]
    refused = _refusal(assignment)
    assert refused.rejected_code == "needs_three_classes"
    assert refused.field is not None
    assert refused.field.startswith("objective")


def test_a_teacher_that_does_not_fit_is_refused(lab: Lab) -> None:
    assignment = lab.assignment("prepare")
    files = lab.teacher(RESNET)
    assignment["teachers"] = [{**files, "network": MLP}]
    assert _refusal(assignment).rejected_code == "teacher_mismatch"


def test_it_can_be_stopped(lab: Lab) -> None:
    def stop(_message: Message) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        prepare.make(lab.assignment("prepare"), say=stop)
