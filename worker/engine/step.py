"""One optimizer step: a batch in one forward, or in several where memory is short."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stillhouse.errors import RunFailed
from worker.engine import average, device, features, seeds
from worker.engine.batch import Batch, Mix, Shown
from worker.engine.course import Course
from worker.engine.data import views
from worker.engine.objective import Loss
from worker.engine.state import MAX_HALVINGS, NotFiniteError, State


@dataclass(frozen=True, slots=True)
class Taken:
    """What a step leaves to be told; scalars on the device, without a graph."""

    loss: Tensor
    shares: dict[str, Tensor]
    correct: Tensor
    """Items that the student classified rightly."""


def take(state: State, *, course: Course, rows: Tensor, view: int, lr: float) -> Taken:
    """Do one step, and smaller forwards from now on if memory isn't enough for it.

    Each micro-batch's gradient counts by its share of the items, so that where an item's loss
    doesn't depend on the others the step is that of the whole batch. A forward that memory cut
    short has moved running statistics already. A loss that isn't finite is a `NotFiniteError`,
    on a CPU alone and before the optimizer's step; a micro-batch that can't be made smaller is
    `RunFailed("out_of_memory")`.

    Args:
        state: Changed in place; its counters are left to the caller.
        course: What to learn from, and how.
        rows: (batch,) int64 on the CPU, positions in the source.
        view: The view's number.
        lr: The learning rate.

    Returns:
        The loss, its shares, and the right answers.
    """
    while (taken := _attempt(state, course=course, rows=rows, view=view)) is None:
        # Here and not where it was caught: the error's frames held the activations.
        state.optimizer.zero_grad()
        device.release(course.source.device)
        _halve(state, course=course, rows=len(rows))
    _update(state, course=course, lr=lr)
    return taken


def _attempt(state: State, *, course: Course, rows: Tensor, view: int) -> Taken | None:
    """The gradient of a batch; None if memory was short."""
    try:
        return _go_through(state, course=course, rows=rows, view=view)
    except Exception as error:
        if device.is_out_of_memory(error):
            return None
        raise


def _go_through(state: State, *, course: Course, rows: Tensor, view: int) -> Taken:
    device.seed(seeds.derive(course.seed, "step", state.step), device=course.source.device)
    state.optimizer.zero_grad()
    bounds = _cut(state, course=course, rows=len(rows))
    shares = [(stop - start) / len(rows) for start, stop in bounds]
    parts = [
        _learn(state, course, rows[start:stop], view=view, share=share, is_first=start == 0)
        for (start, stop), share in zip(bounds, shares, strict=True)
    ]
    return parts[0] if len(parts) == 1 else _add(parts, shares)


def _learn(
    state: State, course: Course, rows: Tensor, *, view: int, share: float, is_first: bool
) -> Taken:
    """The gradient of a micro-batch, by its share of the batch."""
    recipe, place = course.recipe, course.source.device
    shown = show(course, rows, view=view)
    told = course.teacher.take(shown, view=view) if course.teacher else None
    with (
        device.autocast(recipe.precision, device=place, deterministic=recipe.deterministic),
        features.capture(state.network, state.objective.student_layers) as seen,
    ):
        logits = state.network(course.feed(shown.items))
    batch = Batch(shown, logits, seen, state.network, told)
    if recipe.balance and state.step == 0 and is_first:
        state.objective.balance(batch, state.network.parameters())
    loss: Loss = state.objective(batch)
    if place.type == "cpu" and not math.isfinite(loss.total.item()):
        raise NotFiniteError("loss")
    (loss.total if share == 1 else loss.total * share).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    correct = (logits.detach().argmax(dim=1) == shown.dominant).sum()
    return Taken(loss.total.detach(), loss.shares, correct)


def _add(parts: list[Taken], shares: list[float]) -> Taken:
    def mean(values: list[Tensor]) -> Tensor:
        weighted = [value * share for value, share in zip(values, shares, strict=True)]
        return torch.stack(weighted).sum()

    return Taken(
        loss=mean([part.loss for part in parts]),
        shares={name: mean([part.shares[name] for part in parts]) for name in parts[0].shares},
        correct=torch.stack([part.correct for part in parts]).sum(),
    )


def show(course: Course, rows: Tensor, *, view: int) -> Shown:
    """Items of the course's source in a view, with their labels.

    Args:
        course: The course.
        rows: (batch,) int64 on the CPU.
        view: The view's number.

    Returns:
        The items, on the source's device.
    """
    recipe = course.recipe
    index = rows.to(course.source.device, non_blocking=True)
    seen = views.show(course.source, rows, augment=recipe.augment, seed=recipe.view_seed, view=view)
    mix = None
    if seen.partner is not None and seen.share is not None:
        mix = Mix(course.labels[seen.partner], seen.share)
    return Shown(seen.items, index, course.labels[index], mix)


def _update(state: State, *, course: Course, lr: float) -> None:
    recipe = course.recipe
    if recipe.clip_norm is not None:
        nn.utils.clip_grad_norm_(state.network.parameters(), recipe.clip_norm)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.optimizer.step()
    if state.hold is not None:
        state.hold(state.network)
    if recipe.ema is not None:
        average.update(state, recipe.ema)


def _cut(state: State, *, course: Course, rows: int) -> list[tuple[int, int]]:
    """Start and stop of each micro-batch, as equal as can be."""
    wanted = course.recipe.accumulate * 2**state.halvings
    if wanted == 1:
        return [(0, rows)]
    # Batch normalisation has nothing to normalise over in a single item.
    least = 2 if _is_normalised(state.network) or _is_normalised(state.objective) else 1
    count = max(min(wanted, rows // least), 1)
    edges = [rows * place // count for place in range(count + 1)]
    return list(itertools.pairwise(edges))


def _halve(state: State, *, course: Course, rows: int) -> None:
    before = len(_cut(state, course=course, rows=rows))
    state.halvings += 1
    after = len(_cut(state, course=course, rows=rows))
    if state.halvings > MAX_HALVINGS or after == before:
        raise RunFailed(
            "out_of_memory",
            f"The memory was not enough for a forward of {math.ceil(rows / before)} items; "
            "take a smaller network or a smaller input.",
        )


def _is_normalised(module: nn.Module) -> bool:
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())  # noqa: SLF001 - the base of all of torch's
