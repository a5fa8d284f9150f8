from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stillhouse.errors import RunFailed
from stillhouse.spec import ResolvedJob
from tests.worker.conftest import CPU, MLP, RESNET, Lab
from worker.engine import predict, train, trial
from worker.engine import state as states
from worker.engine.course import Course
from worker.engine.objective import Objective
from worker.engine.state import Epoch, State
from worker.engine.train import Result, Step

pytestmark = pytest.mark.usefixtures("exact")


def _student(lab: Lab, *, seed: int = 0, network: dict[str, Any] = MLP) -> nn.Module:
    students = [{"name": "s", "network": network, "input": lab.spec()["students"][0]["input"]}]
    spec = ResolvedJob.model_validate(lab.spec(students=students))
    return trial.build(spec.students[0], seed=seed, classes=10, device=CPU, field="students.0")


def _begin(lab: Lab, course: Course, **options: Any) -> State:
    objective = Objective(course.terms)
    return states.begin(_student(lab, **options), objective, recipe=course.recipe)


def _events(state: State, course: Course) -> list[Step | Epoch | Result]:
    return list(train.distill(state, course=course))


def _result(lab: Lab, course: Course, **options: Any) -> Result:
    last = _events(_begin(lab, course, **options), course)[-1]
    assert isinstance(last, Result)
    return last


def _same(a: Result, b: Result) -> bool:
    return all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


def test_it_yields_every_step_every_epoch_and_the_result(lab: Lab) -> None:
    course = lab.course()
    kinds = [type(event) for event in _events(_begin(lab, course), course)]
    # 130 rows in batches of 32 leave two over: five batches.
    assert kinds == ([Step] * 5 + [Epoch]) * 3 + [Result]


def test_a_student_learns_the_digits(lab: Lab) -> None:
    course = lab.course(training={"epochs": 25, "augment": []}, arm="no_teacher")
    result = _result(lab, course)
    assert result.best.validation["accuracy"] > 0.8
    assert result.items_per_second > 0


def test_a_student_follows_its_teacher_though_the_labels_are_random(lab: Lab) -> None:
    course = lab.course(
        training={"epochs": 60, "augment": [], "optimizer": {"kind": "adamw", "lr": 0.01}},
        objective=[{"kind": "soft_targets", "temperature": 1.0, "standardize": True}],
    )
    noise = np.random.default_rng(0).integers(0, 10, len(course.source))
    wrong = replace(course, labels=torch.from_numpy(noise))
    plain = {"family": "builtin", "name": "mlp", "options": {"hidden": [64]}}
    state = _begin(lab, wrong, network=plain)
    _events(state, wrong)
    assert course.teacher is not None
    theirs = course.teacher.teacher
    taught, told = (
        predict.logits(network, course.source.part, course.feed, batch_size=64, device=CPU).argmax(1)
        for network in (theirs.network, state.network)
    )
    assert (taught == told).float().mean() > 0.9


def test_equal_seeds_give_equal_bytes(lab: Lab) -> None:
    assert _same(_result(lab, lab.course()), _result(lab, lab.course()))


def test_another_seed_gives_another_student(lab: Lab) -> None:
    assert not _same(_result(lab, lab.course()), _result(lab, lab.course(seed=1)))


def test_whatever_else_uses_the_generator_changes_nothing(lab: Lab) -> None:
    course = lab.course()
    state = _begin(lab, course)
    for event in train.distill(state, course=course):
        torch.rand(3)
        if isinstance(event, Result):
            assert _same(event, _result(lab, lab.course()))


def test_both_arms_see_the_same_items_in_the_same_order(lab: Lab) -> None:
    seen: dict[str, list[torch.Tensor]] = {}

    class Eye(nn.Module):
        def __init__(self, arm: str) -> None:
            super().__init__()
            self.head = nn.Linear(64, 10)
            self.dropout = nn.Dropout()
            self.arm = arm

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            dropped: torch.Tensor = self.dropout(x.flatten(1))
            seen.setdefault(self.arm, []).append(dropped)
            logits: torch.Tensor = self.head(dropped)
            return logits

    for arm in ("distilled", "no_teacher"):
        course = lab.course(arm=arm)
        torch.manual_seed(0)
        state = states.begin(Eye(arm), Objective(course.terms), recipe=course.recipe)
        _events(state, course)
    assert len(seen["distilled"]) > 15
    for ours, theirs in zip(seen["distilled"], seen["no_teacher"], strict=True):
        assert torch.equal(ours, theirs)


def test_the_control_never_asks_the_teacher(lab: Lab) -> None:
    assert lab.course(arm="no_teacher").teacher is None


def test_shares_add_up_to_the_loss(lab: Lab) -> None:
    course = lab.course()
    for event in _events(_begin(lab, course), course):
        if isinstance(event, Step):
            assert sum(event.shares.values()) == pytest.approx(event.loss.item(), rel=1e-6)


def test_the_best_epoch_is_the_earliest_of_the_highest(lab: Lab) -> None:
    result = _result(lab, lab.course(training={"epochs": 12}))
    scores = [epoch.validation["accuracy"] for epoch in result.history]
    assert result.best.epoch == scores.index(max(scores))


@pytest.mark.parametrize("metric", ["loss", "ece", "brier"])
def test_selecting_by_an_error_takes_the_lowest(lab: Lab, metric: str) -> None:
    course = lab.course(training={"epochs": 12, "optimizer": {"kind": "sgd", "lr": 1.0}},
                        select=f"validation_{metric}")  # fmt: skip
    result = _result(lab, course)
    errors = [epoch.validation[metric] for epoch in result.history]
    assert result.best.epoch == errors.index(min(errors))


def test_the_weights_are_those_of_the_best_epoch(lab: Lab) -> None:
    course = lab.course(training={"epochs": 12})
    result = _result(lab, course)
    network = _student(lab)
    network.load_state_dict(result.weights)
    logits = predict.logits(network, course.validation, course.feed, batch_size=32, device=CPU)
    right = (logits.argmax(1).numpy() == course.validation.labels).mean()
    assert right == pytest.approx(result.best.validation["accuracy"])


def _copy(state: State) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in state.network.state_dict().items()}


def _poisoned(course: Course, row: int) -> Course:
    part = course.source.part
    pixels = np.array(part.x, dtype=np.float32) / 255
    pixels[row] = np.nan
    return replace(
        course, source=replace(course.source, part=replace(part, x=pixels), items=pixels)
    )


def test_a_loss_that_is_not_finite_stops_before_the_optimizer_steps(lab: Lab) -> None:
    course = _poisoned(lab.course(arm="no_teacher"), row=5)
    state = _begin(lab, course)
    events = train.distill(state, course=course)
    copies = [_copy(state)]
    with pytest.raises(RunFailed) as failed:
        copies.extend(_copy(state) for _ in events)
    before, after = copies[-1], _copy(state)
    assert failed.value.failure == "diverged"
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_weights_that_are_not_finite_are_never_chosen(lab: Lab) -> None:
    course = lab.course(arm="no_teacher")
    state = _begin(lab, course)
    events = train.distill(state, course=course)
    for _ in range(5):
        next(events)
    next(state.network.parameters()).data[0] = float("inf")
    with pytest.raises(RunFailed, match="weights"):
        next(events)
    assert state.history == []


def test_gradients_are_clipped_to_the_norm_asked_for(lab: Lab) -> None:
    rates = {"optimizer": {"kind": "sgd", "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0},
             "schedule": {"kind": "constant"}}  # fmt: skip
    course = lab.course(arm="no_teacher", training=rates | {"clip_norm": 1e-3})
    state = _begin(lab, course)
    before = nn.utils.parameters_to_vector(state.network.parameters()).detach().clone()
    next(iter(train.distill(state, course=course)))
    after = nn.utils.parameters_to_vector(state.network.parameters()).detach()
    assert (after - before).norm().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("optimizer", "precision"),
    [({"kind": "adamw", "lr": 0.01}, "fp32"), ({"kind": "sgd", "lr": 0.05}, "bf16")],
)
def test_every_optimizer_and_precision_trains_a_network_with_normalisation(
    lab: Lab, optimizer: dict[str, Any], precision: str
) -> None:
    course = lab.course(
        training={"optimizer": optimizer, "precision": precision, "deterministic": False}
    )
    result = _result(lab, course, network=RESNET)
    assert result.history[-1].train_accuracy > result.history[0].train_accuracy
    assert all(weight.device == CPU for weight in result.weights.values())


def test_a_single_item_left_over_does_not_break_normalisation(lab: Lab) -> None:
    course = lab.course(training={"batch_size": 43, "epochs": 1})
    assert len(course.source.part) % 43 == 1
    steps = [e for e in _events(_begin(lab, course, network=RESNET), course) if type(e) is Step]
    assert [step.items for step in steps] == [43, 43, 44]
