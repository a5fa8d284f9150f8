"""Which student is the best: by validation alone."""

from __future__ import annotations

from typing import Any

from stillhouse.spec import MINIMISED
from worker.engine.proof.arms import DISTILLED, Trained


def best(candidates: list[Trained], *, select: str) -> dict[str, Any] | None:
    """The student to take, and why.

    Args:
        candidates: Distilled students, or those of a job without a teacher.
        select: `validation_<metric>`; the loss is best when lowest.

    Returns:
        {student, why}, or None without candidates.
    """
    winner = lead(candidates, select=select)
    if winner is None:
        return None
    return {"student": winner.id, "why": _why(winner, candidates, metric=metric_of(select))}


def lead(candidates: list[Trained], *, select: str) -> Trained | None:
    """The first by validation; of equals the smaller, then the earlier, which its id tells."""
    if not candidates:
        return None
    return min(candidates, key=lambda one: (_cost(one, select), one.parameters, one.id))


def is_ahead(one: Trained, other: Trained, *, select: str) -> bool:
    """Whether `one` does better on validation than `other`, not merely as well."""
    return _cost(one, select) < _cost(other, select)


def metric_of(select: str) -> str:
    """The metric of a part that `validation_<metric>` names."""
    return select.removeprefix("validation_")


def name(trained: Trained) -> str:
    """What sentences call a student: its name, its variant if it has one, and its seed."""
    variant = f" ({trained.variant})" if trained.variant else ""
    return f"'{trained.student}'{variant} with seed {trained.seed}"


def _cost(trained: Trained, select: str) -> float:
    """The figure that is selected by, its sign such that the lowest is best."""
    metric = metric_of(select)
    figure = trained.figures["validation"][metric]
    return figure if metric in MINIMISED else -figure


def _why(winner: Trained, candidates: list[Trained], *, metric: str) -> str:
    value = winner.figures["validation"][metric]
    figure, what = metric.replace("_", " "), name(winner)
    kind = "distilled student" if winner.arm == DISTILLED else "student"
    if len(candidates) == 1:
        return f"{what} is the only {kind} (validation {figure} {value:.4f})."
    order = "lowest" if metric in MINIMISED else "highest"
    crowd = f"of the {len(candidates)} {kind}s"
    reason = f"{what} has the {order} validation {figure}, {value:.4f}, {crowd}"
    equals = [one for one in candidates if one.figures["validation"][metric] == value]
    if len(equals) == 1:
        return f"{reason}."
    if min(one.parameters for one in equals) < max(one.parameters for one in equals):
        return f"{reason}; of {len(equals)} equals it has the fewest parameters."
    return f"{reason}; of {len(equals)} equals it comes first."
