from __future__ import annotations

import math
from typing import Any

import pytest

from stillhouse.spec import Schedule
from worker.engine import schedule


def _shares(steps: int = 100, **fields: Any) -> list[float]:
    spec = Schedule.model_validate(fields)
    return [
        schedule.share(spec, step=step, steps=steps, steps_per_epoch=10) for step in range(steps)
    ]


def test_cosine_falls_from_the_peak_towards_zero() -> None:
    shares = _shares(kind="cosine")
    assert shares[0] == 1
    assert shares[50] == pytest.approx(0.5)
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[-1] < 0.001


def test_warm_up_is_linear_and_wastes_no_step() -> None:
    shares = _shares(kind="cosine", warmup_epochs=2)
    assert shares[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert shares[20] == 1
    assert shares[60] == pytest.approx(0.5)


def test_constant_stays_at_the_peak() -> None:
    shares = _shares(kind="constant", warmup_epochs=0.5)
    assert shares[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(shares[5:]) == {1.0}


def test_one_cycle_rises_for_three_tenths_and_falls_to_almost_nothing() -> None:
    shares = _shares(kind="one_cycle", steps=101)
    assert shares[0] == pytest.approx(1 / 25)
    assert shares[30] == pytest.approx(1)
    assert shares[-1] == pytest.approx(1 / 25 / 1e4)


@pytest.mark.parametrize("kind", ["cosine", "constant", "one_cycle"])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_every_step_of_the_shortest_runs_has_a_rate(kind: str, steps: int, warmup: int) -> None:
    for share in _shares(kind=kind, steps=steps, warmup_epochs=warmup):
        assert math.isfinite(share)
        assert 0 < share <= 1
