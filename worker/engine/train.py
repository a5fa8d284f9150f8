"""The training loop: a generator of steps and epochs, then the result.

A position in a run is (epoch, batch): the order of items, the views and everything random in a
step are functions of counters, so no generator's state is ever stored. Reading a step's tensors
is the only thing that waits for the device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stillhouse.errors import RunFailed
from worker.engine import average, choice, device, predict, schedule, snapshot, step
from worker.engine.course import Course
from worker.engine.data import order, views
from worker.engine.proof import metrics
from worker.engine.state import MAX_ROLLBACKS, Epoch, NotFiniteError, State, check_finite

Ended = Literal["epochs", "early_stopping"]


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
class Notice:
    """Something that the user shall know, and that did not end the run."""

    code: Literal["rolled_back", "micro_batch_halved"]
    detail: str


@dataclass(frozen=True, slots=True)
class Result:
    """A run's end."""

    weights: dict[str, Tensor]
    """The best epoch's state dict, on the CPU; of the moving average where there is one."""
    best: Epoch
    history: tuple[Epoch, ...]
    ended: Ended
    train_seconds: float
    """In steps alone: without validation and what the consumer did between steps."""
    items_per_second: float


Event = Step | Epoch | Notice | Result


def distill(
    state: State, *, course: Course, pulse: Callable[[], None] = lambda: None
) -> Iterator[Event]:
    """Train from where `state` stands to the end.

    The state is consistent whenever this yields, and when `pulse` raises; from a copy of it the
    run goes on as if nothing had been. torch's global generator is seeded at every step.

    A loss or a weight that is no longer finite brings the run back to `state.good` with half the
    learning rate, twice at most; the third time it is `RunFailed("diverged")`. On a CPU it is
    seen before the optimizer's step; on a GPU, where looking would stall each step, when the
    consumer reads a loss and sets `state.is_suspect`, and the latest at the end of the epoch,
    before its weights can be chosen.

    Args:
        state: Changed in place.
        course: What to learn from, and how.
        pulse: Called often wherever no step is yielded for long; it may raise to stop.

    Yields:
        Event: Every step, every epoch's end, what the user shall know, and the result once.
    """
    while not _is_over(state, course=course):
        if state.good is None or state.good.position["step"] != state.step:
            state.good = snapshot.take(state)
        try:
            yield from _run_epoch(state, course=course, pulse=pulse)
            yield _close_epoch(state, course=course, pulse=pulse)
        except NotFiniteError as error:
            yield _roll_back(state, what=str(error))
    yield _conclude(state, course=course)


def _is_over(state: State, *, course: Course) -> bool:
    recipe = course.recipe
    stands_still = choice.is_over(state.history, recipe.early_stopping, metric=recipe.metric)
    return state.epoch >= recipe.epochs or stands_still


def _run_epoch(
    state: State, *, course: Course, pulse: Callable[[], None]
) -> Iterator[Step | Notice]:
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
        halvings = state.halvings
        share = schedule.share(
            recipe.schedule, step=state.step, steps=steps, steps_per_epoch=len(batches)
        )
        lr = recipe.lr * share * 0.5**state.rollbacks
        rows = permutation[start:stop]
        taken = step.take(state, course=course, rows=rows, view=view, lr=lr)
        state.step, state.batch = state.step + 1, state.batch + 1
        state.seen += stop - start
        state.correct = state.correct + taken.correct
        state.train_seconds += time.perf_counter() - began
        if state.halvings > halvings:
            yield _say_halved(state, course=course)
        yield Step(
            step=state.step,
            epoch=state.epoch,
            items=stop - start,
            lr=lr,
            loss=taken.loss,
            shares=taken.shares,
        )
        if state.is_suspect:
            raise NotFiniteError("loss")


def _say_halved(state: State, *, course: Course) -> Notice:
    parts = course.recipe.accumulate * 2**state.halvings
    return Notice(
        "micro_batch_halved",
        f"Memory was short at step {state.step}: each batch now goes through in {parts} parts. "
        "The step still sees all of its items.",
    )


def _roll_back(state: State, *, what: str) -> Notice:
    at, epoch, rollbacks, seconds = state.step, state.epoch, state.rollbacks, state.train_seconds
    if rollbacks >= MAX_ROLLBACKS or state.good is None:
        raise RunFailed(
            "diverged",
            f"The {what} stopped being finite at step {at + 1}, epoch {epoch}, also at "
            f"{0.5**rollbacks:g} times the learning rate; lower training.optimizer.lr, or set "
            "training.clip_norm.",
        )
    halvings = state.halvings
    snapshot.restore(state, state.good)
    state.rollbacks, state.halvings, state.train_seconds = rollbacks + 1, halvings, seconds
    state.is_suspect = False
    return Notice(
        "rolled_back",
        f"The {what} stopped being finite at step {at + 1}, epoch {epoch}; the run went back to "
        f"step {state.step} and goes on at {0.5**state.rollbacks:g} times the learning rate.",
    )


def _close_epoch(state: State, *, course: Course, pulse: Callable[[], None]) -> Epoch:
    began = time.perf_counter()
    device.synchronize(course.source.device)
    state.train_seconds += time.perf_counter() - began
    check_finite(state)
    with average.in_place(state):
        logits = predict.logits(
            state.network,
            course.validation,
            course.feed,
            batch_size=course.recipe.batch_size,
            device=course.source.device,
            each=lambda _: pulse(),
        )
        weights = state.network.state_dict()
        labels = torch.from_numpy(np.array(course.validation.labels))
        epoch = Epoch(
            epoch=state.epoch,
            step=state.step,
            train_accuracy=int(state.correct) / state.seen,
            validation=metrics.score(logits, labels),
        )
        if _is_best(epoch, state, metric=course.recipe.metric):
            state.best = {k: v.detach().to("cpu", copy=True) for k, v in weights.items()}
            state.best_epoch = epoch.epoch
    state.history.append(epoch)
    state.epoch, state.batch, state.correct, state.seen = state.epoch + 1, 0, 0, 0
    return epoch


def _is_best(epoch: Epoch, state: State, *, metric: str) -> bool:
    """Strictly, so that of equals the earliest stays."""
    if state.best_epoch < 0:
        return True
    best = state.history[state.best_epoch].validation[metric]
    return choice.is_better(epoch.validation[metric], best, metric=metric)


def _conclude(state: State, *, course: Course) -> Result:
    items = len(course.source) * len(state.history)
    is_early = len(state.history) < course.recipe.epochs
    return Result(
        weights=state.best,
        best=state.history[state.best_epoch],
        history=tuple(state.history),
        ended="early_stopping" if is_early else "epochs",
        train_seconds=state.train_seconds,
        items_per_second=items / max(state.train_seconds, 1e-9),
    )
