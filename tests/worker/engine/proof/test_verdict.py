from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from worker.engine.proof import interval, verdict
from worker.engine.proof.interval import Paired
from worker.engine.proof.verdict import Comparison


def _paired(difference: float, half: float, *, seeds: int = 3) -> Paired:
    """A difference whose 95 % interval has this half-width, and its others in proportion."""

    def limits(confidence: float) -> tuple[float, float]:
        width = half * confidence / 0.95
        return difference - width, difference + width

    return Paired(difference, limits, seeds, 360, 360)


def _comparison(paired: Paired, **more: Any) -> Comparison:
    about = {"student": "small", "arm": "distilled", "variant": None, "against": "no_teacher"}
    return Comparison(**{**about, "accuracy": paired, "loss": _paired(0.0, 1.0), **more})


def _judge(paired: Paired, **more: Any) -> dict[str, Any]:
    (found,) = verdict.judge([_comparison(paired, **more)])
    return found


def test_a_gain_is_told_with_its_interval() -> None:
    found = _judge(_paired(0.019, 0.015))
    assert (found["verdict"], found["basis"], found["provisional"]) == ("gain", "interval", False)
    assert found["interval"] == pytest.approx([0.004, 0.034])
    assert found["sentence"] == (
        "The teacher was worth +1.9 points of test accuracy "
        "(95 % interval +0.4 to +3.4; 3 seeds, 360 items)."
    )


def test_harm_is_told_as_a_cost() -> None:
    found = _judge(_paired(-0.019, 0.015))
    assert (found["verdict"], found["basis"]) == ("harm", "interval")
    assert found["sentence"].startswith("The teacher cost 1.9 points of test accuracy (95 %")


def test_an_interval_around_zero_is_no_gain_and_says_what_could_have_been_missed() -> None:
    found = _judge(_paired(0.01, 0.03))
    assert (found["verdict"], found["basis"]) == ("no_gain", "inconclusive")
    assert found["detectable"] == pytest.approx(0.03 * (1 + 1.06066 / 4.30265), rel=1e-4)
    assert "No effect of the teacher was shown: +1.0 points" in found["sentence"]
    assert found["sentence"].endswith("; an effect of less than 3.7 points could have been missed.")


def test_a_narrow_interval_within_a_point_is_equivalence() -> None:
    found = _judge(_paired(0.001, 0.006))
    assert (found["verdict"], found["basis"]) == ("no_gain", "equivalent")
    assert found["sentence"] == (
        "The teacher made no difference that matters: +0.1 points of test accuracy "
        "(95 % interval -0.5 to +0.7; 3 seeds, 360 items), "
        "and less than one point either way with 90 % confidence."
    )


@pytest.mark.parametrize(("seeds", "provisional"), [(1, True), (2, True), (3, False)])
def test_fewer_than_three_seeds_are_provisional(seeds: int, *, provisional: bool) -> None:
    found = _judge(_paired(0.05, 0.01, seeds=seeds))
    assert found["provisional"] is provisional
    assert ("Provisional:" in found["sentence"]) is provisional


def test_a_doubt_makes_any_verdict_provisional_and_a_condition_does_not() -> None:
    doubted = _judge(_paired(0.05, 0.01), doubts=("The teacher was trained on the test part.",))
    assert doubted["provisional"] is True
    assert "trained on the test part" in doubted["sentence"]
    conditional = _judge(_paired(0.05, 0.01), condition="It holds only if …")
    assert conditional["provisional"] is False
    assert conditional["sentence"].endswith("It holds only if …")


def test_holms_procedure_by_hand() -> None:
    assert verdict.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert verdict.holm([0.9, 0.5]) == [1.0, 1.0]
    assert verdict.holm([]) == []


def test_a_gain_must_survive_the_number_of_students() -> None:
    barely = _paired(0.0301, 0.03)
    assert _judge(barely)["verdict"] == "gain"
    crowd = [_comparison(barely), *(_comparison(_paired(0.0, 0.03)) for _ in range(4))]
    found = verdict.judge(crowd)[0]
    assert found["verdict"] == "no_gain"
    assert found["p_adjusted"] > 0.05
    assert found["sentence"].endswith(
        "would count alone, but among this report's comparisons they may be chance (Holm)."
    )


def test_other_controls_are_a_family_of_their_own() -> None:
    barely = _comparison(_paired(0.0301, 0.03))
    others = [_comparison(_paired(0.0, 0.03), against="dropout") for _ in range(4)]
    assert verdict.judge([barely, *others])[0]["verdict"] == "gain"


def test_a_planted_zero_is_called_a_gain_no_more_often_than_its_share() -> None:
    random, gains = np.random.default_rng(0), 0
    for _ in range(300):
        difficulty = random.normal(1, 1.5, size=(1, 150))
        arms = [
            difficulty + random.normal(0, 0.1, (3, 1)) + random.logistic(0, 0.6, (3, 150)) > 0
            for _ in range(2)
        ]
        paired = interval.of_correctness(*arms)
        gains += paired.excludes_zero(0.95) and paired.difference > 0
    assert gains / 300 <= 0.05


def test_a_large_gain_is_found() -> None:
    random = np.random.default_rng(1)
    control, treated = random.random((3, 400)) < 0.80, random.random((3, 400)) < 0.95
    found = _judge(interval.of_correctness(treated, control))
    assert found["verdict"] == "gain"
    assert found["items"] == 400
