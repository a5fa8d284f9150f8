"""What the teacher was worth: a verdict for each student, arm and control.

* `gain` or `harm` when the paired 95 % interval of test accuracy (worker.engine.proof.interval)
  excludes 0 and the comparison also survives Holm's step-down procedure (1979,
  Scandinavian Journal of Statistics 6:65) within its family: all students against
  `no_teacher` are one family, all other controls a second one. The p-value of a
  comparison is the smallest error share at which its interval excludes 0. The variants
  of a sweep are in their family like students; that they share a control is no
  matter, since Holm's procedure needs no independence.
* else `no_gain`: `equivalent` when the 90 % interval lies within one point either way,
  otherwise `inconclusive`.

Intervals are shown at 95 % and unadjusted; `p_adjusted` is Holm's. With fewer than
three seeds a verdict is provisional.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from worker.engine.proof.interval import Paired

CONFIDENCE = 0.95
EQUIVALENCE_CONFIDENCE = 0.90
EQUIVALENCE_MARGIN = 0.01
SEEDS_FOR_A_FIRM_VERDICT = 3
_COUNTS = ("no", "one", "two")


@dataclass(frozen=True, slots=True)
class Comparison:
    """An arm of a student against one of its controls, not judged yet."""

    student: str
    arm: str
    variant: str | None
    against: str
    accuracy: Paired
    loss: Paired
    control_variant: str | None = None
    """The variant that the control is named after; None: all variants share it."""
    doubts: tuple[str, ...] = ()
    """Sentences that make the verdict provisional, whatever the seeds."""
    condition: str = ""
    """A sentence that says what the verdict rests on, if on anything."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What may be said of a comparison."""

    verdict: Literal["gain", "no_gain", "harm"]
    basis: Literal["interval", "equivalent", "inconclusive"]
    p_adjusted: float


def judge(comparisons: list[Comparison]) -> list[dict[str, Any]]:
    """Judge all comparisons of a report, so that each family is adjusted as a whole.

    Args:
        comparisons: In the order of the report.

    Returns:
        The objects of `result.comparisons`, in the same order.
    """
    adjusted = _adjusted_by_family(comparisons)
    return [
        _as_dict(comparison, _judgement(comparison.accuracy, p_adjusted=p))
        for comparison, p in zip(comparisons, adjusted, strict=True)
    ]


def holm(p_values: list[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    greatest = 0.0
    for rank, index in enumerate(order):
        greatest = max(greatest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = greatest
    return adjusted


def _adjusted_by_family(comparisons: list[Comparison]) -> list[float]:
    adjusted = [1.0] * len(comparisons)
    for of_no_teacher in (True, False):
        family = [
            index
            for index, comparison in enumerate(comparisons)
            if (comparison.against == "no_teacher") is of_no_teacher
        ]
        values = holm([comparisons[index].accuracy.p_value() for index in family])
        for index, value in zip(family, values, strict=True):
            adjusted[index] = value
    return adjusted


def _judgement(paired: Paired, *, p_adjusted: float) -> Judgement:
    if paired.excludes_zero(CONFIDENCE) and p_adjusted <= 1 - CONFIDENCE:
        verdict: Literal["gain", "harm"] = "gain" if paired.difference > 0 else "harm"
        return Judgement(verdict, "interval", p_adjusted)
    low, high = paired.limits(EQUIVALENCE_CONFIDENCE)
    if low > -EQUIVALENCE_MARGIN and high < EQUIVALENCE_MARGIN:
        return Judgement("no_gain", "equivalent", p_adjusted)
    return Judgement("no_gain", "inconclusive", p_adjusted)


def _as_dict(comparison: Comparison, judgement: Judgement) -> dict[str, Any]:
    paired, loss = comparison.accuracy, comparison.loss
    provisional = paired.seeds < SEEDS_FOR_A_FIRM_VERDICT or bool(comparison.doubts)
    return {
        "student": comparison.student,
        "arm": comparison.arm,
        "variant": comparison.variant,
        "against": comparison.against,
        "control_variant": comparison.control_variant,
        "metric": "accuracy",
        "difference": paired.difference,
        "interval": list(paired.limits(CONFIDENCE)),
        "confidence": CONFIDENCE,
        "seeds": paired.seeds,
        "items": paired.items,
        "clusters": paired.clusters,
        "detectable": paired.detectable(),
        "p_adjusted": judgement.p_adjusted,
        "verdict": judgement.verdict,
        "basis": judgement.basis,
        "provisional": provisional,
        "loss": {"difference": loss.difference, "interval": list(loss.limits(CONFIDENCE))},
        "sentence": _sentence(comparison, judgement),
    }


def _sentence(comparison: Comparison, judgement: Judgement) -> str:
    sentences = [_finding(comparison, judgement), *_reservations(comparison), comparison.condition]
    return " ".join(filter(None, sentences))


def _finding(comparison: Comparison, judgement: Judgement) -> str:
    paired = comparison.accuracy
    evidence = _evidence(paired)
    name = "teacher"
    if comparison.against != "no_teacher":
        name = f"teacher, against the control '{comparison.against}',"
    points, size = _points(paired.difference), _points(abs(paired.difference)).lstrip("+")
    detectable = _points(paired.detectable()).lstrip("+")
    if judgement.verdict == "gain":
        return f"The {name} was worth {points} points of test accuracy ({evidence})."
    if judgement.verdict == "harm":
        return f"The {name} cost {size} points of test accuracy ({evidence})."
    if judgement.basis == "equivalent":
        return (
            f"The {name} made no difference that matters: {points} points of test accuracy "
            f"({evidence}), and less than one point either way with 90 % confidence."
        )
    if paired.excludes_zero(CONFIDENCE):
        return (
            f"No effect of the {name} was shown: {points} points of test accuracy ({evidence}) "
            f"would count alone, but among this report's comparisons they may be chance (Holm)."
        )
    return (
        f"No effect of the {name} was shown: {points} points of test accuracy ({evidence}); "
        f"an effect of less than {detectable} points could have been missed."
    )


def _evidence(paired: Paired) -> str:
    low, high = (_points(limit) for limit in paired.limits(CONFIDENCE))
    seeds = "1 seed" if paired.seeds == 1 else f"{paired.seeds} seeds"
    items = "1 item" if paired.items == 1 else f"{paired.items} items"
    return f"95 % interval {low} to {high}; {seeds}, {items}"


def _reservations(comparison: Comparison) -> list[str]:
    seeds = comparison.accuracy.seeds
    sentences = list(comparison.doubts)
    if seeds == 1:
        sentences.insert(0, "One seed can't show what other seeds would give.")
    elif seeds < SEEDS_FOR_A_FIRM_VERDICT:
        sentences.insert(0, f"{_COUNTS[seeds].capitalize()} seeds hardly show how seeds vary.")
    return ["Provisional:", *sentences] if sentences else []


def _points(fraction: float) -> str:
    """Percentage points with a sign; a zero has a plus whatever its sign was."""
    return f"{round(100 * fraction, 1) + 0.0:+.1f}"
