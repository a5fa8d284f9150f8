from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import safetensors.torch
import torch

from stillhouse.errors import InputRejected
from stillhouse.spec import ResolvedJob
from tests.worker.conftest import INPUT, MLP, TEACHER, Lab
from tests.worker.engine.test_train_run import Ear
from worker.engine import stages, train_run
from worker.engine.checkpoint import Past
from worker.engine.stop import Stopped
from worker.protocol import Assignment

pytestmark = pytest.mark.usefixtures("exact")

SELF = [{"self": {"rounds": 3}}]
MIDDLE = {"family": "builtin", "name": "mlp", "options": {"hidden": [32]}}
CHAIN = [{"id": TEACHER, "assistant": {"network": MIDDLE}}]


def _assignment(lab: Lab, teachers: list[dict[str, Any]], **changes: Any) -> Assignment:
    spec = lab.spec(teachers=teachers, **changes.pop("spec", {}))
    given = [] if teachers is SELF else [lab.teacher()]
    return lab.assignment(spec=spec, teachers=given, **changes)


def _make(assignment: Assignment, ear: Ear | None = None) -> tuple[dict[str, Any], bytes]:
    result, listing = train_run.make(assignment, say=ear or Ear())
    return result, dict(listing)["model.safetensors"].read_bytes()


def test_the_first_stage_of_self_distillation_is_the_control(lab: Lab) -> None:
    result, _ = _make(_assignment(lab, SELF))
    control, _ = _make(_assignment(lab, SELF, arm="no_teacher"))
    assert control["stages"][0]["validation"] == result["stages"][0]["validation"]
    assert [stage["name"] for stage in control["stages"]] == ["student"]
    assert control["teacher_forwards"] == 0


def test_rounds_end_at_the_first_that_is_no_better_and_the_best_is_served(lab: Lab) -> None:
    # Nothing is learned at this rate: a round is better or worse by its initial weights alone.
    still = {"training": {"optimizer": {"kind": "sgd", "lr": 1e-9}}}
    found = []
    for seed in range(6):
        result, weights = _make(_assignment(lab, SELF, seed=seed, spec=still))
        scores = [stage["validation"]["accuracy"] for stage in result["stages"]]
        kept = [stage["kept"] for stage in result["stages"]]
        expected = [True]
        for before, score in pairwise(scores):
            expected.append(score > before)
        assert kept == expected
        assert all(kept[:-1])
        assert len(scores) == 4 or not kept[-1]
        served = [score for score, is_kept in zip(scores, kept, strict=True) if is_kept][-1]
        assert result["validation"]["accuracy"] == served == max(scores)
        draws = [lab.network(MLP, seed=seed)]
        tensors = safetensors.torch.load(weights)
        is_first = all(
            torch.allclose(tensors[n], t, atol=1e-4) for n, t in draws[0].state_dict().items()
        )
        assert is_first == (sum(kept) == 1)
        found.append(len(scores))
    assert len(set(found)) > 1


def test_a_round_begins_at_new_weights_and_learns_from_the_round_before(lab: Lab) -> None:
    spec = ResolvedJob.model_validate(lab.spec(teachers=SELF))
    assignment = _assignment(lab, SELF)
    plan = stages.plan(spec, spec.students[0], arm="distilled", field="students.0")
    base = stages.course_of(assignment, spec, spec.students[0], seed=0, arm="distilled")
    past = Past(weights=lab.network(MLP, seed=9).state_dict())
    begun = [stages.begin(stage, base, files={}, past=past) for stage in plan[:3]]
    firsts = [next(iter(state.network.parameters())) for state, _ in begun]
    assert not torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[1], firsts[2])
    assert begun[0][1].teacher is None
    for _, course in begun[1:]:
        assert course.panel is not None
        assert course.panel.inside is not None
        theirs = course.panel.inside.network.state_dict()
        assert all(torch.equal(theirs[name], tensor) for name, tensor in past.weights.items())


def test_an_assistant_learns_from_the_teacher_and_the_student_from_it(lab: Lab) -> None:
    ear = Ear()
    result, weights = _make(_assignment(lab, CHAIN), ear)
    assert [stage["name"] for stage in result["stages"]] == ["assistant", "student"]
    assert all(stage["kept"] for stage in result["stages"])
    assert result["parameters"] == 64 * 24 + 24 + 24 * 10 + 10
    # Two views of 130 rows by the teacher for the assistant, and by it for the student.
    assert (result["teacher_forwards"], result["store_hits"]) == (520, 260)
    steps = [(message["step"], message["steps"]) for message in ear.of_type("progress")]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == ((0, 30), (30, 30))
    points = [point for message in ear.of_type("metrics") for point in message["points"]]
    at = [step for name, step, _ in points if name == "validation_accuracy"]
    assert at == [5, 10, 15, 20, 25, 30]
    assert weights != _make(_assignment(lab, [{"id": TEACHER}]))[1]


@pytest.mark.parametrize("teachers", [SELF, CHAIN])
@pytest.mark.parametrize("step", [8, 15, 16, 23])
def test_a_chain_is_resumed_in_any_stage_to_the_same_bytes(
    lab: Lab, teachers: list[dict[str, Any]], step: int
) -> None:
    whole, weights = _make(_assignment(lab, teachers))
    ear = Ear(stop_at=step)
    with pytest.raises(Stopped):
        train_run.make(_assignment(lab, teachers), say=ear)
    *_, message = ear.of_type("checkpoint")
    assert message["step"] == step
    path = message["file"]["file"]
    again, resumed = _make(_assignment(lab, teachers, checkpoint=path))
    assert resumed == weights
    assert again["stages"] == whole["stages"]
    assert again["history"] == whole["history"]


def test_a_stage_that_ends_early_shortens_the_way(lab: Lab) -> None:
    rule = {
        "early_stopping": {"patience": 1},
        "epochs": 30,
        "optimizer": {"kind": "sgd", "lr": 1e-9},
    }
    ear = Ear()
    result, _ = _make(_assignment(lab, CHAIN, spec={"training": rule}), ear)
    assert [stage["ended"] for stage in result["stages"]] == ["early_stopping"] * 2
    assert result["ended"] == "early_stopping"
    first, last = ear.of_type("progress")[0], ear.of_type("progress")[-1]
    assert first["steps"] == 2 * 30 * 5
    assert last["step"] == last["steps"] == 2 * 2 * 5


def test_an_assistant_between_several_teachers_is_refused(lab: Lab) -> None:
    other = "tch_" + "u" * 26
    spec = ResolvedJob.model_validate(lab.spec(teachers=[{"id": other}, *CHAIN]))
    with pytest.raises(InputRejected) as refused:
        stages.plan(spec, spec.students[0], arm="distilled", field="students.0")
    assert refused.value.rejected_code == "assistant_among_several"
    assert refused.value.field == "teachers.1.assistant"


def test_a_student_that_starts_from_the_teacher_needs_one_with_weights(lab: Lab) -> None:
    student = {"name": "s", "network": MLP, "input": INPUT, "init": {"kind": "from_teacher"}}
    spec = ResolvedJob.model_validate(lab.spec(teachers=SELF, students=[student]))
    assignment = _assignment(lab, SELF)
    base = stages.course_of(assignment, spec, spec.students[0], seed=0, arm="distilled")
    plan = stages.plan(spec, spec.students[0], arm="distilled", field="students.0")
    with pytest.raises(InputRejected) as refused:
        stages.begin(plan[1], base, files={}, past=Past())
    assert refused.value.rejected_code == "needs_teacher_weights"
    assert refused.value.field == "students.0.init"
