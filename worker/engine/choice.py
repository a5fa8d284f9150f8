"""Which epoch is the best one, and when no better one is to be expected."""

from __future__ import annotations

from collections.abc import Sequence

from stillhouse.spec import MINIMISED, EarlyStopping
from worker.engine.state import Epoch


def is_better(value: float, than: float, *, metric: str, by: float = 0.0) -> bool:
    """Whether a metric's value is strictly better, by more than a margin in its own unit."""
    return value < than - by if metric in MINIMISED else value > than + by


def is_over(history: Sequence[Epoch], rule: EarlyStopping | None, *, metric: str) -> bool:
    """Whether the last `patience` epochs brought nothing better.

    Args:
        history: All epochs so far.
        rule: None: it is never over.
        metric: What the epoch is chosen by.

    Returns:
        Whether to end; a function of the history alone, so that a resumed run ends where an
        undisturbed one does.
    """
    if rule is None or not history:
        return False
    best, since = history[0].validation[metric], 0
    for epoch in history[1:]:
        since += 1
        if is_better(epoch.validation[metric], best, metric=metric, by=rule.min_delta):
            best, since = epoch.validation[metric], 0
    return since >= rule.patience
