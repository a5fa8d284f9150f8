from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from worker.engine.proof import interval, quantiles

Array = np.ndarray[Any, Any]


def _same_arms(seeds: int, items: int, *, random: np.random.Generator) -> tuple[Array, Array]:
    """Correctness of two arms that differ by chance only: hard items, lucky and unlucky seeds."""
    difficulty = random.normal(1.0, 1.5, size=(1, items))
    arms = []
    for _ in range(2):
        luck = random.normal(0, 0.15, size=(seeds, 1))
        noise = random.logistic(0, 0.6, size=(seeds, items))
        arms.append(difficulty + luck + noise > 0)
    return arms[0], arms[1]


def test_the_half_width_is_that_of_the_formula() -> None:
    treated, control = _same_arms(3, 40, random=np.random.default_rng(0))
    d = treated.astype(float) - control.astype(float)
    seeds, items = d.shape
    by_seed, by_item, mean = d.mean(axis=1), d.mean(axis=0), d.mean()
    a = items * ((by_seed - mean) ** 2).sum() / (seeds - 1)
    i = seeds * ((by_item - mean) ** 2).sum() / (items - 1)
    rest = sum(
        (d[s, k] - by_seed[s] - by_item[k] + mean) ** 2 for s in range(seeds) for k in range(items)
    )
    e = rest / ((seeds - 1) * (items - 1))
    assert i > e
    half = math.sqrt((4.302653**2 * a + 1.959964**2 * (i - e)) / (items * seeds))
    low, high = interval.of_correctness(treated, control).limits(0.95)
    assert (low, high) == pytest.approx((mean - half, mean + half), rel=1e-5)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_arms_that_do_not_differ_are_covered_about_as_often_as_claimed(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    inside = 0
    for _ in range(400):
        treated, control = _same_arms(seeds, 200, random=random)
        inside += not interval.of_correctness(treated, control).excludes_zero(0.95)
    assert 0.91 <= inside / 400 <= 0.99


def test_one_seed_is_covered_for_the_items_of_two_given_files() -> None:
    random, inside = np.random.default_rng(1), 0
    for _ in range(400):
        right, switched = random.random(200) < 0.8, random.random(200) < 0.1
        first = np.where(switched, random.random(200) < 0.5, right)[None]
        second = np.where(switched, random.random(200) < 0.5, right)[None]
        inside += not interval.of_correctness(first, second).excludes_zero(0.95)
    assert 0.91 <= inside / 400 <= 0.99


# Newcombe 1998, Statistics in Medicine 17:2635, table II, method 10.
PUBLISHED = [
    ((36, 12, 2, 0), (0.0569, 0.3404)),
    ((36, 14, 0, 0), (0.1528, 0.4167)),
    ((54, 0, 0, 0), (-0.0664, 0.0664)),
    ((0, 30, 0, 0), (0.8395, 1.0)),
]


@pytest.mark.parametrize(("cells", "limits"), PUBLISHED)
def test_the_paired_interval_of_one_seed_is_the_published_one(
    cells: tuple[int, int, int, int], limits: tuple[float, float]
) -> None:
    found = interval.newcombe(*cells, z=quantiles.normal(0.975))
    assert found == pytest.approx(limits, abs=5e-5)


def test_a_positive_correlation_is_corrected_for_continuity() -> None:
    both, first, second, neither, z = 40, 5, 3, 12, 1.96
    phi = (both * neither - first * second - 60 / 2) / math.sqrt(45 * 15 * 43 * 17)

    def wilson(hits: int, sign: int) -> float:
        root = math.sqrt(z**2 + 4 * hits * (1 - hits / 60))
        return (2 * hits + z**2 + sign * z * root) / (2 * (60 + z**2))

    below, above = 45 / 60 - wilson(45, -1), wilson(43, 1) - 43 / 60
    lower = 2 / 60 - math.sqrt(below**2 - 2 * phi * below * above + above**2)
    found, _ = interval.newcombe(both, first, second, neither, z=z)
    assert found == pytest.approx(lower)


def test_one_seed_takes_the_paired_interval_of_its_items() -> None:
    treated = np.array([[True] * 48 + [False] * 2])
    control = np.array([[True] * 36 + [False] * 12 + [True] * 2])
    paired = interval.of_correctness(treated, control)
    assert paired.difference == pytest.approx(0.2)
    assert paired.limits(0.95) == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_copies_of_an_item_add_no_certainty() -> None:
    treated, control = _same_arms(3, 60, random=np.random.default_rng(4))
    alone = interval.of_correctness(treated, control)
    clusters = np.repeat(np.arange(60), 5)
    repeated = interval.of_correctness(
        treated.repeat(5, axis=1), control.repeat(5, axis=1), clusters=clusters
    )
    assert repeated.difference == pytest.approx(alone.difference)
    assert repeated.limits(0.95) == pytest.approx(alone.limits(0.95))
    assert (repeated.items, repeated.clusters) == (300, 60)


def test_copies_add_no_certainty_with_one_seed_either() -> None:
    treated, control = _same_arms(1, 60, random=np.random.default_rng(4))
    alone = interval.of_correctness(treated, control)
    clusters = np.repeat(np.arange(60), 5)
    repeated = interval.of_correctness(
        treated.repeat(5, axis=1), control.repeat(5, axis=1), clusters=clusters
    )
    assert repeated.limits(0.95) == pytest.approx(alone.limits(0.95))


def test_clusters_of_several_sizes_keep_the_mean_over_items() -> None:
    treated, control = _same_arms(2, 50, random=np.random.default_rng(5))
    clusters = np.array([0] * 20 + list(range(1, 31)))
    paired = interval.of_correctness(treated, control, clusters=clusters)
    assert paired.difference == pytest.approx(treated.mean() - control.mean())
    low, high = paired.limits(0.95)
    assert (low + high) / 2 == pytest.approx(paired.difference)


def test_the_sizes_of_clusters_add_no_spread_of_their_own() -> None:
    random = np.random.default_rng(9)
    control = random.random((3, 50))
    treated = control + 0.5 + random.normal(0, 0.001, (3, 50))
    clusters = np.array([0] * 20 + list(range(1, 31)))
    assert interval.of_values(treated, control, clusters=clusters).half_width() < 0.002


def test_arms_that_agree_on_everything_still_have_a_width() -> None:
    same = np.ones((3, 40), dtype=bool)
    paired = interval.of_correctness(same, same)
    low, high = paired.limits(0.95)
    assert low < 0 < high
    assert paired.detectable() > 0


def test_the_detectable_effect_follows_the_degrees_of_freedom() -> None:
    treated, control = _same_arms(3, 100, random=np.random.default_rng(6))
    paired = interval.of_correctness(treated, control)
    ratio = 1.060660 / 4.302653
    assert paired.detectable() == pytest.approx(paired.half_width() * (1 + ratio), rel=1e-6)


def test_the_p_value_is_where_the_interval_begins_to_exclude_zero() -> None:
    treated, control = _same_arms(5, 100, random=np.random.default_rng(7))
    paired = interval.of_correctness(treated, control)
    p = paired.p_value()
    assert paired.excludes_zero(1 - 1.01 * p)
    assert not paired.excludes_zero(1 - 0.99 * p)


def test_losses_take_the_same_decomposition() -> None:
    random = np.random.default_rng(8)
    first = random.random((3, 30))
    paired = interval.of_values(first - 0.5, first + random.normal(0, 0.01, (3, 30)))
    low, high = paired.limits(0.95)
    assert low < paired.difference < high < 0
    assert paired.difference == pytest.approx(-0.5, abs=0.02)


def test_with_one_seed_the_detectable_effect_takes_normal_quantiles() -> None:
    random = np.random.default_rng(0)
    paired = interval.of_correctness(random.random((1, 200)) < 0.8, random.random((1, 200)) < 0.7)
    assert paired.detectable() == pytest.approx(1.42941 * paired.half_width(), rel=1e-5)
