"""`docs/methods.md` from the reports of the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from examples.methods.plan import Trial

Json = Mapping[str, Any]
_VERDICTS = {"gain": "gain", "no_gain": "no gain", "harm": "**harm**"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One objective on one set of data, held against the control."""

    name: str
    accuracy: Json
    difference: float
    interval: tuple[float, float]
    verdict: str
    basis: str


def outcomes(trial: Trial, report: Json) -> list[Outcome]:
    """Every objective of a trial, the largest difference first."""
    arms = {arm["variant"]: arm for arm in report["arms"] if arm["arm"] == "distilled"}
    names = dict(zip(arms, trial.objectives, strict=True))
    found = [
        Outcome(
            name=names[one["variant"]],
            accuracy=arms[one["variant"]]["test"]["accuracy"],
            difference=one["difference"],
            interval=(one["interval"][0], one["interval"][1]),
            verdict=one["verdict"],
            basis=one["basis"],
        )
        for one in report["comparisons"]
        if one["against"] == "no_teacher" and one["metric"] == "accuracy"
    ]
    return sorted(found, key=lambda outcome: -outcome.difference)


def section(trial: Trial, report: Json) -> str:
    """A trial's table, with its losers named."""
    control = next(arm for arm in report["arms"] if arm["arm"] == "no_teacher")
    alone = control["test"]["accuracy"]
    teacher = report["teachers"][0]["test"]["accuracy"]
    items = report["comparisons"][0]["items"]
    found = outcomes(trial, report)
    said = (
        f"{trial.about[0].upper()}{trial.about[1:]}. {items} test items, "
        f"{len(alone['values'])} seeds. The teacher reaches {teacher:.2%}, the student without it "
        f"{_mean(alone)}."
    )
    lines = [
        f"## {trial.name}",
        "",
        said,
        "",
        "| objective | test accuracy | difference, points | 95 % interval | verdict |",
        "|---|---:|---:|---:|---|",
        *(_row(outcome) for outcome in found),
        "",
        _losers(found),
    ]
    return "\n".join(lines)


def _row(outcome: Outcome) -> str:
    low, high = (f"{100 * end:+.2f}" for end in outcome.interval)
    verdict = _VERDICTS[outcome.verdict]
    if outcome.verdict == "no_gain":
        verdict += f" ({outcome.basis})"
    return (
        f"| {outcome.name} | {_mean(outcome.accuracy)} | {100 * outcome.difference:+.2f} "
        f"| {low} to {high} | {verdict} |"
    )


def _losers(found: list[Outcome]) -> str:
    below = [outcome.name for outcome in found if outcome.difference < 0]
    sure = [outcome.name for outcome in found if outcome.verdict == "harm"]
    if not below:
        return "None is below the control in the mean."
    said = f"Below the control in the mean: {', '.join(below)}."
    if sure:
        return f"{said} Beyond doubt: {', '.join(sure)}."
    return f"{said} For none of them the interval excludes zero."


def _mean(figure: Json) -> str:
    return f"{figure['mean']:.2%} ± {100 * (figure['std'] or 0):.2f}"
