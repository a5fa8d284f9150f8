"""The interval of a paired difference between two arms, over seeds and items.

The estimand is the mean difference over training seeds and test items, for one
teacher, one training set and one split. With d[s, i] the difference of seed s on
item i, S seeds and n items, and the mean squares of the two-way layout

    A = n·Σ_s(d̄_s - d̄)²/(S-1)      I = S·Σ_i(d̄_i - d̄)²/(n-1)
    E = Σ_si(d_si - d̄_s - d̄_i + d̄)²/((S-1)(n-1))

the half-width is √(t²_{S-1}·A/(nS) + z²·max(I - E, 0)/(nS)). One seed can't show how
seeds vary: then the interval is Newcombe's (1998, Statistics in Medicine 17:2635,
method 10) and speaks of these two files only.

Items that are copies of each other are one cluster. A cluster enters by the total of
its residuals from the overall mean, so that the mean over items stays the estimand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from worker.engine.proof import quantiles

Floats: TypeAlias = npt.NDArray[np.float64]
Limits: TypeAlias = Callable[[float], tuple[float, float]]
"""Confidence in (0, 1) -> lower and upper limit."""


@dataclass(frozen=True, slots=True)
class Paired:
    """A mean difference and what is known of its error."""

    difference: float
    limits: Limits
    seeds: int
    items: int
    clusters: int

    def excludes_zero(self, confidence: float) -> bool:
        """Whether 0 lies outside the interval of this confidence."""
        low, high = self.limits(confidence)
        return low > 0 or high < 0

    def half_width(self, confidence: float = 0.95) -> float:
        """Half of the interval's length."""
        low, high = self.limits(confidence)
        return (high - low) / 2

    def p_value(self) -> float:
        """The smallest share of error at which the interval still excludes 0, by bisection."""
        low, high = 1e-12, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            if self.excludes_zero(1 - middle):
                high = middle
            else:
                low = middle
        return high

    def detectable(self) -> float:
        """The effect that would show in 80 of 100 repetitions: h·(1 + t_.80/t_.975).

        One seed has no degrees of freedom: the normal quantiles take the place of t's, and the
        repetitions are other test items for the same two files.
        """
        degrees = self.seeds - 1
        if degrees == 0:
            return self.half_width() * (1 + quantiles.normal(0.80) / quantiles.normal(0.975))
        ratio = quantiles.student(0.80, degrees) / quantiles.student(0.975, degrees)
        return self.half_width() * (1 + ratio)


def of_correctness(
    treated: npt.NDArray[np.bool_],
    control: npt.NDArray[np.bool_],
    *,
    clusters: npt.NDArray[np.int64] | None = None,
) -> Paired:
    """The difference of accuracies, treated minus control, as a fraction.

    Args:
        treated: (seeds, items), whether the item was classified rightly.
        control: (seeds, items), paired with `treated` by seed and item.
        clusters: (items,), equal numbers for items that are copies of each other.

    Returns:
        The paired difference with its limits.
    """
    if len(treated) == 1:
        return _newcombe(treated, control, clusters=clusters)
    paired = _two_way(treated.astype(np.float64) - control, clusters=clusters)
    if paired.half_width() > 0:
        return paired
    # On few items the mean squares can vanish by chance; a width of zero would claim too much.
    return _newcombe(treated, control, clusters=clusters)


def of_values(
    treated: Floats, control: Floats, *, clusters: npt.NDArray[np.int64] | None = None
) -> Paired:
    """The mean difference of a per-item value such as the loss, treated minus control.

    Args:
        treated: (seeds, items).
        control: (seeds, items), paired with `treated` by seed and item.
        clusters: (items,), equal numbers for items that are copies of each other.

    Returns:
        The paired difference; with one seed its limits know of the items' spread only.
    """
    return _two_way(treated - control, clusters=clusters)


def _two_way(differences: Floats, *, clusters: npt.NDArray[np.int64] | None) -> Paired:
    seeds, items = differences.shape
    mean = float(differences.mean())
    table = _clustered(differences, clusters)
    count = table.shape[1]
    by_seed, by_item = _variances(table)

    def limits(confidence: float) -> tuple[float, float]:
        share = 0.5 + confidence / 2
        t = quantiles.student(share, seeds - 1) if seeds > 1 else 0.0
        half = math.sqrt(t**2 * by_seed + quantiles.normal(share) ** 2 * by_item)
        return mean - half, mean + half

    return Paired(mean, limits, seeds, items, count)


def _variances(table: Floats) -> tuple[float, float]:
    """What seeds and items each add to the variance of the mean: A/(nS), max(I-E, 0)/(nS)."""
    seeds, items = table.shape
    mean, seed_means, item_means = table.mean(), table.mean(axis=1), table.mean(axis=0)
    item_square = seeds * ((item_means - mean) ** 2).sum() / max(items - 1, 1)
    if seeds == 1:
        return 0.0, float(item_square) / items
    seed_square = items * ((seed_means - mean) ** 2).sum() / (seeds - 1)
    rest = table - seed_means[:, None] - item_means[None, :] + mean
    interaction = (rest**2).sum() / ((seeds - 1) * max(items - 1, 1))
    total = items * seeds
    return float(seed_square) / total, max(float(item_square - interaction), 0.0) / total


def _clustered(differences: Floats, clusters: npt.NDArray[np.int64] | None) -> Floats:
    """(seeds, clusters), less the mean over items; each seed's own mean stays."""
    residuals: Floats = differences - differences.mean()
    if clusters is None:
        return residuals
    names, index = np.unique(clusters, return_inverse=True)
    rows = [np.bincount(index, weights=row) for row in residuals]
    table: Floats = np.stack(rows) * (len(names) / differences.shape[1])
    return table


def _newcombe(
    treated: npt.NDArray[np.bool_],
    control: npt.NDArray[np.bool_],
    *,
    clusters: npt.NDArray[np.int64] | None,
) -> Paired:
    """Newcombe's method 10 for the pairs, counted as many as there are clusters."""
    seeds, items = treated.shape
    count = items if clusters is None else len(np.unique(clusters))
    scale = count / (seeds * items)
    cells = (treated & control, treated & ~control, ~treated & control, ~treated & ~control)
    both, first, second, neither = (float(cell.sum()) * scale for cell in cells)
    difference = float(treated.mean() - control.mean())

    def limits(confidence: float) -> tuple[float, float]:
        z = quantiles.normal(0.5 + confidence / 2)
        return newcombe(both, first, second, neither, z=z)

    return Paired(difference, limits, seeds, items, count)


def newcombe(
    both: float, first: float, second: float, neither: float, *, z: float
) -> tuple[float, float]:
    """Limits of the difference of two paired proportions, the first minus the second.

    Args:
        both: Pairs of which both succeeded.
        first: Pairs of which only the first succeeded.
        second: Pairs of which only the second succeeded.
        neither: Pairs of which none succeeded.
        z: The normal quantile of the confidence, 1.96 for 95 %.

    Returns:
        The lower and the upper limit, within [-1, 1].
    """
    count = both + first + second + neither
    share_1, share_2 = (both + first) / count, (both + second) / count
    low_1, high_1 = _wilson(share_1, count, z=z)
    low_2, high_2 = _wilson(share_2, count, z=z)
    phi = _correlation(both, first, second, neither)
    below = _square_and_add(share_1 - low_1, high_2 - share_2, phi=phi)
    above = _square_and_add(high_1 - share_1, share_2 - low_2, phi=phi)
    return share_1 - share_2 - below, share_1 - share_2 + above


def _wilson(share: float, count: float, *, z: float) -> tuple[float, float]:
    centre = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0)


def _correlation(both: float, first: float, second: float, neither: float) -> float:
    """Phi, its positive values corrected for continuity: what makes it method 10."""
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    if margins <= 0:
        return 0.0
    cross = both * neither - first * second
    if cross > 0:
        cross = max(cross - (both + first + second + neither) / 2, 0.0)
    return cross / math.sqrt(margins)


def _square_and_add(a: float, b: float, *, phi: float) -> float:
    return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))
