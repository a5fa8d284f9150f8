"""Quantiles of the normal and of Student's distribution, without scipy."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_TINY = 1e-300
_ITERATIONS = 300


def normal(share: float) -> float:
    """The z below which `share` of the standard normal distribution lies."""
    return NormalDist().inv_cdf(share)


@lru_cache(maxsize=4096)
def student(share: float, degrees: int) -> float:
    """The t below which `share` of Student's distribution lies.

    The upper tail is I_x(degrees/2, 1/2) / 2 with x = degrees/(degrees + t²), which
    is monotone in t and so is inverted by bisection.

    Args:
        share: In (0, 1), exclusive.
        degrees: Degrees of freedom, 1 or more.

    Returns:
        The quantile, to about 12 digits.
    """
    if share < 0.5:
        return -student(1 - share, degrees)
    if share == 0.5:
        return 0.0
    low, high = 0.0, 1.0
    while _upper_tail(high, degrees) > 1 - share:
        low, high = high, 2 * high
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if _upper_tail(middle, degrees) > 1 - share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _upper_tail(t: float, degrees: int) -> float:
    return _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t)) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), regularised."""
    if x in (0.0, 1.0):
        return x
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log1p(-x))
    # The continued fraction converges fast on one side of the mean only.
    if x < (a + 1) / (a + b + 2):
        return front * _continued_fraction(a, b, x) / a
    return 1 - front * _continued_fraction(b, a, 1 - x) / b


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Lentz's method (Press et al., Numerical Recipes, 6.4)."""
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _ITERATIONS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1 / _nonzero(1 + numerator * d)
            c = _nonzero(1 + numerator / c)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
