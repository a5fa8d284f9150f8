"""The learning rate of a step, as a share of its peak; pure functions of the step's number."""

from __future__ import annotations

import math
from typing import assert_never

from stillhouse.spec import Schedule

# One cycle as torch and the paper's authors set it (Smith & Topin 2018, arXiv:1708.07120).
_RISE = 0.3
_FIRST_SHARE = 1 / 25
_LAST_SHARE = _FIRST_SHARE / 1e4


def share(schedule: Schedule, *, step: int, steps: int, steps_per_epoch: int) -> float:
    """The share of the peak learning rate.

    Args:
        schedule: Its kind and warm-up; one-cycle has a rise of its own and takes no warm-up.
        step: From 0.
        steps: Of the whole run.
        steps_per_epoch: The unit of the warm-up.

    Returns:
        Above 0 and at most 1.
    """
    if schedule.kind == "one_cycle":
        return _one_cycle(step / max(steps - 1, 1))
    warmup = min(round(schedule.warmup_epochs * steps_per_epoch), steps)
    if step < warmup:
        return (step + 1) / warmup  # A step at a rate of 0 would be wasted.
    match schedule.kind:
        case "cosine":
            return _between(1.0, 0.0, at=(step - warmup) / (steps - warmup))
        case "constant":
            return 1.0
        case _:
            assert_never(schedule.kind)


def _one_cycle(at: float) -> float:
    if at < _RISE:
        return _between(_FIRST_SHARE, 1.0, at=at / _RISE)
    return _between(1.0, _LAST_SHARE, at=(at - _RISE) / (1 - _RISE))


def _between(start: float, end: float, *, at: float) -> float:
    """Half a cosine from start (at 0) to end (at 1)."""
    return end + (start - end) * (1 + math.cos(math.pi * at)) / 2
