"""The training loop: a generator of steps and epochs, then the result.

A position in a run is (epoch, batch): the order of items, the views and everything random in a
step are functions of counters, so no generator's state is ever stored. Reading a step's tensors
is the only thing that waits for the device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stillhouse.errors import RunFailed
from stillhouse.spec import MINIMISED
from worker.engine import device, features, predict, schedule, seeds
from worker.engine.batch import Batch, Shown
from worker.engine.course import Course
from worker.engine.data import order, views
from worker.engine.objective import Loss
from worker.engine.proof import metrics
from worker.engine.state import Epoch, State, check_finite, describe_divergence


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step. Its tensors are scalars on the device; reading them waits for it."""

    step: int
    """Steps done, this one included."""
    epoch: int
    items: int
    lr: float
    loss: Tensor
    shares: dict[str, Tensor]
    """`loss.<kind>` -> its part of the loss."""


@dataclass(frozen=True, slots=True)
class Result:
    """A run's end."""

    weights: dict[str, Tensor]
    """The best epoch's state dict, on the CPU."""
    best: Epoch
    history: tuple[Epoch, ...]
    train_seconds: float
    """In steps alone: without validation and what the consumer did between steps."""
    items_per_second: float


def distill(
    state: State, *, course: Course, pulse: Callable[[], None] = lambda: None
) -> Iterator[Step | Epoch | Result]:
    """Train from where `state` stands to the end.

    The state is consistent whenever this yields, and when `pulse` raises; from a copy of it the
    run goes on as if nothing had been. torch's global generator is seeded at every step. A loss
    or a parameter that is no longer finite ends the run as `RunFailed("diverged")`: on a CPU
    before the optimizer's step; on a GPU, where looking would stall each step, the latest at the
    end of the epoch, before its weights can be chosen (see `check_finite`).

    Args:
        state: Changed in place.
        course: What to learn from, and how.
        pulse: Called often wherever no step is yielded for long; it may raise to stop.

    Yields:
        Step | Epoch | Result: Every step, every epoch's end, and the result once.
    """
    while state.epoch < course.recipe.epochs:
        yield from _run_epoch(state, course=course, pulse=pulse)
        yield _close_epoch(state, course=course, pulse=pulse)
    yield _conclude(state, course=course)


def _run_epoch(state: State, *, course: Course, pulse: Callable[[], None]) -> Iterator[Step]:
    recipe = course.recipe
    view = views.number(state.epoch, views=recipe.views, augment=recipe.augment)
    if course.teacher is not None:
        course.teacher.open_view(view, pulse=pulse)
    shuffled = order.permutation(len(course.source), seed=course.seed, epoch=state.epoch)
    permutation = torch.from_numpy(shuffled)
    state.network.train()
    batches, steps = course.batches, course.steps
    for start, stop in batches[state.batch :]:
        began = time.perf_counter()
        lr = recipe.lr * schedule.share(
            recipe.schedule, step=state.step, steps=steps, steps_per_epoch=len(batches)
        )
        loss = _take_step(state, course=course, rows=permutation[start:stop], view=view, lr=lr)
        state.step, state.batch = state.step + 1, state.batch + 1
        state.seen += stop - start
        state.train_seconds += time.perf_counter() - began
        yield Step(
            step=state.step,
            epoch=state.epoch,
            items=stop - start,
            lr=lr,
            loss=loss.total.detach(),
            shares=loss.shares,
        )


def _take_step(state: State, *, course: Course, rows: Tensor, view: int, lr: float) -> Loss:
    recipe, place = course.recipe, course.source.device
    device.seed(seeds.derive(course.seed, "step", state.step), device=place)
    shown = _show(course, rows, view=view)
    told = course.teacher.take(shown, view=view) if course.teacher else None
    with (
        device.autocast(recipe.precision, device=place, deterministic=recipe.deterministic),
        features.capture(state.network, state.objective.student_layers) as seen,
    ):
        logits = state.network(course.feed(shown.items))
    loss: Loss = state.objective(Batch(shown, logits, seen, state.network, told))
    if place.type == "cpu" and not math.isfinite(loss.total.item()):
        raise RunFailed("diverged", describe_divergence(state, what="loss"))
    state.optimizer.zero_grad()
    loss.total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    _update(state, lr=lr, clip_norm=recipe.clip_norm)
    state.correct = state.correct + (logits.detach().argmax(dim=1) == shown.labels).sum()
    return loss


def _show(course: Course, rows: Tensor, *, view: int) -> Shown:
    index = rows.to(course.source.device, non_blocking=True)
    items = views.apply(
        course.source.take(rows),
        index,
        augment=course.recipe.augment,
        seed=course.recipe.view_seed,
        view=view,
    )
    return Shown(items, index, course.labels[index])


def _update(state: State, *, lr: float, clip_norm: float | None) -> None:
    if clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), clip_norm)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.optimizer.step()


def _close_epoch(state: State, *, course: Course, pulse: Callable[[], None]) -> Epoch:
    began = time.perf_counter()
    device.synchronize(course.source.device)
    state.train_seconds += time.perf_counter() - began
    check_finite(state)
    logits = predict.logits(
        state.network,
        course.validation,
        course.feed,
        batch_size=course.recipe.batch_size,
        device=course.source.device,
        each=lambda _: pulse(),
    )
    labels = torch.from_numpy(np.array(course.validation.labels))
    epoch = Epoch(
        epoch=state.epoch,
        step=state.step,
        train_accuracy=int(state.correct) / state.seen,
        validation=metrics.score(logits, labels),
    )
    state.history.append(epoch)
    if _is_better(epoch, state, metric=course.recipe.metric):
        state.best = {
            k: v.detach().to("cpu", copy=True) for k, v in state.network.state_dict().items()
        }
        state.best_epoch = epoch.epoch
    state.epoch, state.batch, state.correct, state.seen = state.epoch + 1, 0, 0, 0
    return epoch


def _is_better(epoch: Epoch, state: State, *, metric: str) -> bool:
    """Strictly, so that of equals the earliest stays."""
    if state.best_epoch < 0:
        return True
    value, best = epoch.validation[metric], state.history[state.best_epoch].validation[metric]
    return value < best if metric in MINIMISED else value > best


def _conclude(state: State, *, course: Course) -> Result:
    items = len(course.source) * course.recipe.epochs
    return Result(
        weights=state.best,
        best=state.history[state.best_epoch],
        history=tuple(state.history),
        train_seconds=state.train_seconds,
        items_per_second=items / max(state.train_seconds, 1e-9),
    )
