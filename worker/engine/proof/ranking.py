"""Which student is the best: by validation alone."""

from __future__ import annotations

from typing import Any

from worker.engine.proof.arms import Trained


def best(candidates: list[Trained], *, select: str) -> dict[str, Any] | None:
    """The student to take; of equals the smaller, then the earlier, which its id tells.

    Args:
        candidates: Distilled students, or those of a job without a teacher.
        select: `validation_<metric>`; the loss is best when lowest.

    Returns:
        {student, why}, or None without candidates.
    """
    if not candidates:
        return None
    metric = select.removeprefix("validation_")
    sign = -1 if metric == "loss" else 1

    def key(trained: Trained) -> tuple[float, int, str]:
        return -sign * trained.figures["validation"][metric], trained.parameters, trained.id

    winner = min(candidates, key=key)
    return {"student": winner.id, "why": _why(winner, candidates, metric=metric)}


def _why(winner: Trained, candidates: list[Trained], *, metric: str) -> str:
    value = winner.figures["validation"][metric]
    name = metric.replace("_", " ")
    what = f"'{winner.student}' with seed {winner.seed}"
    if len(candidates) == 1:
        return f"{what} is the only candidate (validation {name} {value:.4f})."
    order = "lowest" if metric == "loss" else "highest"
    reason = f"{what} has the {order} validation {name}, {value:.4f}, of {len(candidates)} students"
    equals = [one for one in candidates if one.figures["validation"][metric] == value]
    if len(equals) == 1:
        return f"{reason}."
    if min(one.parameters for one in equals) < max(one.parameters for one in equals):
        return f"{reason}; of {len(equals)} equals it has the fewest parameters."
    return f"{reason}; of {len(equals)} equals it comes first."
