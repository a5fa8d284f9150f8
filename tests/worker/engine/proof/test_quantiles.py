from __future__ import annotations

import pytest

from worker.engine.proof import quantiles

# Percentage points of the t distribution, as printed in tables.
TABLE = [
    (0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 4, 2.7764), (0.975, 9, 2.2622),
    (0.975, 30, 2.0423), (0.975, 120, 1.9799), (0.80, 1, 1.3764), (0.80, 2, 1.0607),
    (0.80, 4, 0.9410), (0.95, 2, 2.9200), (0.995, 1, 63.6567), (0.9995, 3, 12.9240),
]  # fmt: skip


@pytest.mark.parametrize(("share", "degrees", "expected"), TABLE)
def test_students_quantiles_are_those_of_the_tables(
    share: float, degrees: int, expected: float
) -> None:
    assert quantiles.student(share, degrees) == pytest.approx(expected, abs=5e-5)


def test_students_quantiles_are_symmetric_about_zero() -> None:
    assert quantiles.student(0.5, 3) == 0
    assert quantiles.student(0.1, 3) == -quantiles.student(0.9, 3)


def test_with_many_degrees_students_quantile_is_the_normal_one() -> None:
    assert quantiles.normal(0.975) == pytest.approx(1.959964, abs=1e-6)
    assert quantiles.student(0.975, 1_000_000) == pytest.approx(quantiles.normal(0.975), rel=1e-5)


@pytest.mark.parametrize("degrees", [1, 2, 7])
def test_extreme_shares_stay_finite_and_ordered(degrees: int) -> None:
    shares = (0.6, 0.9, 0.999, 1 - 1e-9, 1 - 1e-12)
    values = [quantiles.student(share, degrees) for share in shares]
    assert values == sorted(values)
