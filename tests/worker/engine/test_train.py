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
from worker.engine import predict, snapshot, train, trial
from worker.engine import state as states
from worker.engine.course import Course
from worker.engine.state import Epoch, State
from worker.engine.train import Event, Notice, Result, Step

pytestmark = pytest.mark.usefixtures("exact")


def _student(lab: Lab, *, seed: int = 0, network: dict[str, Any] = MLP) -> nn.Module:
    students = [{"name": "s", "network": network, "input": lab.spec()["students"][0]["input"]}]
    spec = ResolvedJob.model_validate(lab.spec(students=students))
    return trial.build(spec.students[0], seed=seed, classes=10, device=CPU, field="students.0")


def _begin(lab: Lab, course: Course, **options: Any) -> State:
    network = _student(lab, **options)
    return states.begin(network, lab.objective(course, network), recipe=course.recipe)


def _events(state: State, course: Course) -> list[Event]:
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
    assert course.panel is not None
    theirs = course.panel.inside
    assert theirs is not None
    taught, told = (
        predict.logits(network, course.source.part, course.feed, batch_size=64, device=CPU).argmax(
            1
        )
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
        eye = Eye(arm)
        objective = lab.objective(course, eye)
        seen[arm] = []  # the objective looked at it as well
        state = states.begin(eye, objective, recipe=course.recipe)
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
    for rollbacks in (0, 1, 2):
        assert state.rollbacks == rollbacks
        assert [next(events) for _ in range(5)][-1].step == state.step == 5  # type: ignore[union-attr]  # steps
        next(state.network.parameters()).data[0] = float("inf")
        if rollbacks < 2:
            assert isinstance(next(events), Notice)
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
    [
        ({"kind": "adamw", "lr": 0.01}, "fp32"),
        ({"kind": "sgd", "lr": 0.05}, "bf16"),
        ({"kind": "muon", "lr": 0.01}, "fp32"),
    ],
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


def _finish(state: State, course: Course) -> Result:
    last = _events(state, course)[-1]
    assert isinstance(last, Result)
    return last


def test_a_run_that_went_back_goes_on_at_half_the_rate(lab: Lab) -> None:
    course = lab.course(arm="no_teacher", training={"schedule": {"kind": "constant"}})
    state = _begin(lab, course)
    events = train.distill(state, course=course)
    for _ in range(7):
        next(events)  # An epoch of five steps, its end, and a step more.
    state.is_suspect = True
    assert isinstance(next(events), Notice)
    step = next(events)
    assert isinstance(step, Step)
    assert (step.step, step.epoch) == (6, 1)
    assert step.lr == pytest.approx(0.05)
    assert len(state.history) == 1


def test_a_run_goes_back_twice_and_then_it_diverged(lab: Lab) -> None:
    course = _poisoned(lab.course(arm="no_teacher"), row=5)
    state = _begin(lab, course)
    first = _copy(state)
    seen: list[Notice] = []
    events = train.distill(state, course=course)
    while len(seen) < 2:
        event = next(events)
        if isinstance(event, Notice):
            seen.append(event)
            assert all(torch.equal(first[n], t) for n, t in _copy(state).items())
            assert state.step == state.seen == 0
            assert state.optimizer.state_dict()["state"] == {}
    with pytest.raises(RunFailed, match=r"0.25 times the learning rate"):
        list(events)
    assert [notice.code for notice in seen] == ["rolled_back"] * 2
    assert "0.5 times" in seen[0].detail


def test_a_loss_that_its_reader_found_not_finite_brings_the_run_back(lab: Lab) -> None:
    course = lab.course(arm="no_teacher")
    state = _begin(lab, course)
    events = train.distill(state, course=course)
    next(events)
    next(events)
    state.is_suspect = True
    assert isinstance(next(events), Notice)
    assert (state.step, state.is_suspect) == (0, False)


def test_it_goes_back_to_a_later_checkpoint_if_there_is_one(lab: Lab) -> None:
    course = lab.course(arm="no_teacher")
    state = _begin(lab, course)
    events = train.distill(state, course=course)
    next(events)
    next(events)
    state.good = snapshot.take(state)
    kept = _copy(state)
    next(events)
    state.is_suspect = True
    assert isinstance(next(events), Notice)
    assert state.step == 2
    assert all(torch.equal(kept[name], tensor) for name, tensor in _copy(state).items())
    before = {name: tensor.clone() for name, tensor in state.good.tensors.items()}
    next(events)
    assert all(torch.equal(before[name], t) for name, t in state.good.tensors.items())


EMA = {"ema": {"decay": 0.9}, "optimizer": {"kind": "sgd", "lr": 0.1}}


def test_the_average_is_what_is_validated_and_served(lab: Lab) -> None:
    course = lab.course(arm="no_teacher", training=EMA | {"epochs": 2})
    state = _begin(lab, course, network=RESNET)
    by_hand = {name: p.detach().clone() for name, p in state.network.named_parameters()}
    done = 0
    for event in train.distill(state, course=course):
        if isinstance(event, Step):
            decay = min(0.9, (1 + done) / (10 + done))
            for name, p in state.network.named_parameters():
                by_hand[name] = decay * by_hand[name] + (1 - decay) * p.detach()
            done += 1
        if isinstance(event, Epoch):
            own = {name: p.detach().clone() for name, p in state.network.named_parameters()}
            assert any(not torch.equal(own[name], by_hand[name]) for name in own)
    for name, average in state.averages.items():
        assert torch.allclose(average, by_hand[name], atol=1e-6)
    served = _student(lab, network=RESNET)
    served.load_state_dict(state.best)
    logits = predict.logits(served, course.validation, course.feed, batch_size=32, device=CPU)
    right = (logits.argmax(1).numpy() == course.validation.labels).mean()
    assert right == pytest.approx(state.history[state.best_epoch].validation["accuracy"])
    if state.best_epoch == 1:
        assert all(
            torch.equal(state.best[name], average) for name, average in state.averages.items()
        )
    buffers = dict(state.network.named_buffers())
    assert set(state.best) == set(buffers) | set(by_hand)


def test_the_average_makes_place_for_the_weights_again_when_the_run_is_stopped(lab: Lab) -> None:
    course = lab.course(arm="no_teacher", training=EMA)
    state = _begin(lab, course)
    events = train.distill(state, course=course, pulse=_stop)
    for _ in range(5):
        next(events)
    before = _copy(state)
    with pytest.raises(KeyboardInterrupt):
        next(events)
    assert all(torch.equal(before[name], tensor) for name, tensor in _copy(state).items())


def _stop() -> None:
    raise KeyboardInterrupt


def test_a_run_ends_early_when_the_metric_stands_still(lab: Lab) -> None:
    rule = {
        "epochs": 40,
        "early_stopping": {"patience": 2},
        "optimizer": {"kind": "sgd", "lr": 1e-9},
    }
    course = lab.course(arm="no_teacher", training=rule)
    result = _finish(_begin(lab, course), course)
    assert result.ended == "early_stopping"
    assert len(result.history) == 3
    assert result.best.epoch == 0
    assert _finish(_begin(lab, lab.course()), lab.course()).ended == "epochs"
