from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stillhouse.errors import RunFailed
from stillhouse.spec import ResolvedJob
from tests.worker.conftest import RESNET, Lab
from worker.engine import recipe, snapshot, step, train
from worker.engine import state as states
from worker.engine.course import Course
from worker.engine.data import views
from worker.engine.state import State
from worker.engine.train import Notice, Step

pytestmark = pytest.mark.usefixtures("exact")

PLAIN = {"family": "builtin", "name": "mlp", "options": {"hidden": [24]}}
SGD = {"optimizer": {"kind": "sgd", "lr": 0.1}}


class Forwards(nn.Module):
    """A network that notes how many items it sees, and has memory for so many."""

    def __init__(self, network: nn.Module, *, most: int = 10_000) -> None:
        super().__init__()
        self.network = network
        self.most = most
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        if self.training and len(x) > self.most:
            raise torch.OutOfMemoryError
        logits: Tensor = self.network(x)
        return logits


def _begin(
    lab: Lab, network: dict[str, Any] = PLAIN, *, most: int = 10_000, **training: Any
) -> tuple[State, Course, Forwards]:
    course = lab.course(training=SGD | training)
    built = Forwards(lab.network(network), most=most)
    objective = lab.objective(course, built)
    built.sizes.clear()
    return states.begin(built, objective, recipe=course.recipe), course, built


def _steps(state: State, course: Course, count: int) -> Iterator[Step]:
    events = train.distill(state, course=course)
    for _ in range(count):
        event = next(events)
        assert isinstance(event, Step)
        yield event


def _weights(state: State) -> Tensor:
    return nn.utils.parameters_to_vector(state.network.parameters()).detach().clone()


@pytest.mark.parametrize("accumulate", [2, 3, 7, 32])
def test_accumulated_steps_are_those_of_the_whole_batch(lab: Lab, accumulate: int) -> None:
    whole, course, _ = _begin(lab)
    losses = [event.loss for event in _steps(whole, course, 5)]
    parts, course, network = _begin(lab, accumulate=accumulate)
    again = list(_steps(parts, course, 5))
    assert network.sizes == [32 * (i + 1) // accumulate - 32 * i // accumulate
                             for _ in range(4) for i in range(accumulate)] + [
                             2 * (i + 1) // min(accumulate, 2) - 2 * i // min(accumulate, 2)
                             for i in range(min(accumulate, 2))]  # fmt: skip
    assert torch.allclose(_weights(whole), _weights(parts), rtol=0, atol=1e-6)
    for loss, event in zip(losses, again, strict=True):
        assert torch.allclose(event.loss, loss, rtol=1e-5)
        assert sum(event.shares.values()) == pytest.approx(event.loss.item(), rel=1e-5)
    assert int(parts.correct) == int(whole.correct)


def test_no_micro_batch_of_a_normalised_network_is_a_single_item(lab: Lab) -> None:
    state, course, network = _begin(lab, RESNET, accumulate=32)
    list(_steps(state, course, 5))
    assert network.sizes == [2] * 16 * 4 + [2]


def test_memory_that_is_short_halves_the_micro_batch_and_not_the_step(lab: Lab) -> None:
    whole, course, _ = _begin(lab)
    list(_steps(whole, course, 3))
    state, course, network = _begin(lab, most=10)
    events = train.distill(state, course=course)
    notice = next(events)
    assert isinstance(notice, Notice)
    assert notice.code == "micro_batch_halved"
    assert "4 parts" in notice.detail
    for _ in range(3):
        assert isinstance(next(events), Step)
    assert network.sizes == [32, 16, *[8] * 12]
    assert state.halvings == 2
    assert torch.allclose(_weights(whole), _weights(state), rtol=0, atol=1e-6)


def test_a_smaller_micro_batch_is_kept_in_checkpoints(lab: Lab) -> None:
    state, course, _ = _begin(lab, most=10)
    next(train.distill(state, course=course))
    other, course, network = _begin(lab, most=10)
    snapshot.restore(other, snapshot.take(state))
    list(_steps(other, course, 1))
    assert network.sizes == [8] * 4


@pytest.mark.parametrize(("network", "most"), [(PLAIN, 0), (RESNET, 1)])
def test_memory_that_is_never_enough_ends_the_run(
    lab: Lab, network: dict[str, Any], most: int
) -> None:
    state, course, _ = _begin(lab, network, most=most)
    with pytest.raises(RunFailed) as failed:
        list(_steps(state, course, 1))
    assert failed.value.failure == "out_of_memory"


def test_it_halves_eight_times_at_most(lab: Lab) -> None:
    state, course, network = _begin(lab, most=10)
    state.halvings = states.MAX_HALVINGS
    network.most = 0
    network.train()
    assert course.teacher is not None
    course.teacher.open_view(0, pulse=lambda: None)
    rows = torch.arange(130).repeat(5)  # Parts of two or three items, which could be halved.
    with pytest.raises(RunFailed, match="memory"):
        step.take(state, course=course, rows=rows, view=0, lr=0.1)
    assert len(network.sizes) == 1


def test_another_error_is_not_taken_for_a_lack_of_memory(lab: Lab) -> None:
    state, course, _ = _begin(lab)
    state.network.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(_steps(state, course, 1))


def test_what_is_held_stays_to_the_last_bit_and_the_average_too(lab: Lab) -> None:
    state, course, network = _begin(
        lab, ema={"decay": 0.9}, optimizer={"kind": "adamw", "lr": 0.01, "weight_decay": 0.5}
    )
    first = next(iter(network.parameters()))
    before = first.detach().clone()

    def hold(_network: nn.Module) -> None:
        with torch.no_grad():
            first.copy_(before)

    state.hold = hold
    others = _weights(state)
    list(_steps(state, course, 5))
    assert torch.equal(first, before)
    assert torch.equal(next(iter(state.averages.values())), before)
    assert not torch.equal(_weights(state), others)


def test_terms_are_balanced_once_by_the_first_batch(lab: Lab) -> None:
    state, course, _ = _begin(lab, balance=True)
    assert torch.equal(state.objective.scales, torch.ones(2))
    list(_steps(state, course, 1))
    found = state.objective.scales.clone()
    assert not torch.equal(found, torch.ones(2))
    events = train.distill(state, course=course)
    next(events)
    assert torch.equal(state.objective.scales, found)


def test_blended_items_count_as_the_larger_one(lab: Lab) -> None:
    course = lab.course(training=SGD | {"augment": [{"kind": "mixup", "alpha": 1.0}]})
    shown = step.show(course, torch.arange(130), view=0)
    assert shown.mix is not None
    seen = views.show(
        course.source, torch.arange(130), augment=course.recipe.augment, seed=0, view=0
    )
    assert seen.partner is not None
    assert torch.equal(shown.mix.labels, course.labels[seen.partner])
    mostly = shown.mix.share > 0.5
    assert torch.equal(shown.dominant[mostly], course.labels[mostly])
    assert torch.equal(shown.dominant[~mostly], shown.mix.labels[~mostly])
    assert shown.items.dtype == torch.float32
    network = lab.network(PLAIN)
    state = states.begin(network, lab.objective(course, network), recipe=course.recipe)
    with torch.no_grad():
        right = network(course.feed(shown.items)).argmax(1) == shown.dominant
    assert course.teacher is not None
    course.teacher.open_view(0, pulse=lambda: None)
    taken = step.take(state, course=course, rows=torch.arange(130), view=0, lr=0.0)
    assert int(taken.correct) == int(right.sum()) > 0


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_student_trains_on_blended_items_and_their_teacher_sees_them(lab: Lab, kind: str) -> None:
    course = lab.course(training=SGD | {"augment": [{"kind": kind}], "views": 1, "epochs": 2})
    network = lab.network(PLAIN)
    state = states.begin(network, lab.objective(course, network), recipe=course.recipe)
    list(train.distill(state, course=course))
    assert course.teacher is not None
    assert course.panel is not None
    assert course.panel.inside is not None
    shown = step.show(course, torch.arange(7), view=0)
    with torch.no_grad():
        said = course.panel.inside.network(course.panel.inside.feed(shown.items))
    assert torch.allclose(course.teacher.take(shown, view=0).logits, said, atol=1e-5)


def test_precision_and_recipe_fields_reach_the_recipe(lab: Lab) -> None:
    asked = {"accumulate": 4, "ema": {"decay": 0.5}, "early_stopping": {"patience": 3}}
    made = recipe.of_job(ResolvedJob.model_validate(lab.spec(training=asked)))
    assert (made.accumulate, made.balance) == (4, False)
    assert made.ema is not None
    assert made.early_stopping is not None
    assert (made.ema.decay, made.early_stopping.patience) == (0.5, 3)
