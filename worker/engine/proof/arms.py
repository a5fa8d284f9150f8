"""Students of one kind side by side: the seeds of an arm, and an arm against its controls."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.engine.proof import interval, verdict
from worker.engine.proof.evaluation import PARTS

DISTILLED = "distilled"


@dataclass(frozen=True, slots=True)
class Trained:
    """One student, measured."""

    id: str
    student: str
    arm: str
    variant: str | None
    seed: int
    figures: dict[str, dict[str, float]]
    """Part -> metric -> value."""
    gap: float | None
    """Accuracy on train less that on test."""
    correct: npt.NDArray[np.bool_]
    """(items,), of the test part; empty without one."""
    losses: npt.NDArray[np.float64]
    """(items,), in nats."""
    agreement: float | None
    """Share of test items named like the first teacher names them."""
    divergence: float | None
    """KL(teacher‖student) on test, in nats."""
    parameters: int
    macs: int
    bytes: int
    latency: list[dict[str, Any]]
    """One measurement for all arms and seeds of a student: weights don't change it."""
    exports: tuple[dict[str, Any], ...] = ()
    """Each with its parity and its latency (see `exports`)."""


@dataclass(frozen=True, slots=True)
class Arm:
    """The seeds of one student in one arm, in the job's order."""

    student: str
    arm: str
    variant: str | None
    trained: tuple[Trained, ...]
    missing: tuple[dict[str, Any], ...]
    """{seed, code, detail} of each run that failed."""

    def as_dict(self) -> dict[str, Any]:
        """An object of `result.arms`."""
        first = self.trained[0] if self.trained else None
        parts = {part: _parts(self.trained, part=part) for part in PARTS}
        return {
            "student": self.student,
            "arm": self.arm,
            "variant": self.variant,
            "seeds": [trained.seed for trained in self.trained],
            "missing": list(self.missing),
            "students": [trained.id for trained in self.trained],
            **parts,
            "gap": spread([trained.gap for trained in self.trained]),
            "agreement": spread([trained.agreement for trained in self.trained]),
            "kl": spread([trained.divergence for trained in self.trained]),
            "parameters": first.parameters if first else None,
            "macs": first.macs if first else None,
            "bytes": first.bytes if first else None,
            "latency": first.latency if first else [],
            "exports": list(first.exports) if first else [],
        }


def spread(values: list[float | None]) -> dict[str, Any] | None:
    """Mean, sample standard deviation (None for one value) and the values; None without any."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": statistics.fmean(known), "std": deviation, "values": known}


def compare(
    pairs: list[tuple[Arm, Arm]],
    *,
    clusters: npt.NDArray[np.int64] | None,
    doubts: tuple[str, ...],
    condition: str,
) -> list[dict[str, Any]]:
    """Every distilled arm against each of its controls, seed by seed.

    Args:
        pairs: Distilled arm and control.
        clusters: (items,), equal for copies of one item; None when there are none.
        doubts: What makes every verdict provisional.
        condition: What every verdict rests on; empty when it rests on nothing.

    Returns:
        The objects of `result.comparisons`.
    """
    comparisons: list[verdict.Comparison] = []
    for treated, control in pairs:
        common = _common(treated, control)
        if not common:
            continue
        accuracy, loss = _differences(common, clusters=clusters)
        comparisons.append(
            verdict.Comparison(
                student=treated.student,
                arm=treated.arm,
                variant=treated.variant,
                against=control.arm,
                control_variant=control.variant,
                accuracy=accuracy,
                loss=loss,
                doubts=doubts,
                condition=condition,
            )
        )
    return verdict.judge(comparisons)


def _common(treated: Arm, control: Arm) -> list[tuple[Trained, Trained]]:
    """The students of the seeds that both have, where there are test rows."""
    by_seed = {trained.seed: trained for trained in control.trained}
    pairs = [(ours, by_seed[ours.seed]) for ours in treated.trained if ours.seed in by_seed]
    return [pair for pair in pairs if pair[0].correct.size]


def _differences(
    pairs: list[tuple[Trained, Trained]], *, clusters: npt.NDArray[np.int64] | None
) -> tuple[interval.Paired, interval.Paired]:
    ours, theirs = zip(*pairs, strict=True)
    accuracy = interval.of_correctness(
        np.stack([trained.correct for trained in ours]),
        np.stack([trained.correct for trained in theirs]),
        clusters=clusters,
    )
    loss = interval.of_values(
        np.stack([trained.losses for trained in ours]),
        np.stack([trained.losses for trained in theirs]),
        clusters=clusters,
    )
    return accuracy, loss


def _parts(trained: tuple[Trained, ...], *, part: str) -> dict[str, Any]:
    """Metric -> its spread over the seeds."""
    if not trained:
        return {}
    names = trained[0].figures[part]
    return {name: spread([one.figures[part][name] for one in trained]) for name in names}
