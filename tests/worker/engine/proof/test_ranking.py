from __future__ import annotations

import numpy as np

from worker.engine.proof import ranking
from worker.engine.proof.arms import Trained

ACCURACY = "validation_accuracy"


def _trained(
    name: str,
    *,
    accuracy: float,
    loss: float = 1.0,
    parameters: int = 10,
    arm: str = "distilled",
) -> Trained:
    figures = {"validation": {"accuracy": accuracy, "loss": loss}, "test": {"accuracy": 1.0}}
    return Trained(
        id=name, student=name, arm=arm, variant=None, seed=0, figures=figures,
        gap=None, correct=np.empty(0, dtype=bool), losses=np.empty(0), agreement=None,
        divergence=None, parameters=parameters, macs=0, bytes=0, latency=[],
    )  # fmt: skip


def _best(*candidates: Trained, select: str = "validation_accuracy") -> str:
    found = ranking.best(list(candidates), select=select)
    assert found is not None
    return str(found["student"])


def test_the_highest_validation_figure_wins() -> None:
    first, second = _trained("stu_a", accuracy=0.8), _trained("stu_b", accuracy=0.9)
    assert _best(first, second) == "stu_b"


def test_the_lowest_loss_wins() -> None:
    first = _trained("stu_a", accuracy=0.8, loss=0.3)
    second = _trained("stu_b", accuracy=0.9, loss=0.4)
    assert _best(first, second, select="validation_loss") == "stu_a"


def test_of_equals_the_smaller_wins_and_then_the_earlier() -> None:
    large = _trained("stu_a", accuracy=0.9, parameters=20)
    small, later = _trained("stu_b", accuracy=0.9), _trained("stu_c", accuracy=0.9)
    assert _best(large, later, small) == "stu_b"
    reason = ranking.best([large, later, small], select="validation_accuracy")
    assert reason is not None
    assert "fewest parameters" in reason["why"]


def test_the_reason_says_who_was_compared() -> None:
    distilled = [_trained(name, accuracy=0.8) for name in ("stu_a", "stu_b", "stu_c")]
    found = ranking.best([*distilled, _trained("stu_d", accuracy=0.9)], select=ACCURACY)
    assert found is not None
    assert found["why"] == (
        "'stu_d' with seed 0 has the highest validation accuracy, 0.9000, "
        "of the 4 distilled students."
    )


def test_a_single_student_is_called_the_only_one_of_its_kind() -> None:
    distilled = ranking.best([_trained("stu_a", accuracy=0.8)], select=ACCURACY)
    alone = ranking.best([_trained("stu_a", accuracy=0.8, arm="no_teacher")], select=ACCURACY)
    assert distilled is not None
    assert alone is not None
    assert "is the only distilled student (validation accuracy 0.8000)" in distilled["why"]
    assert "is the only student (validation accuracy 0.8000)" in alone["why"]


def test_being_ahead_is_more_than_being_equal() -> None:
    worse, better = _trained("stu_a", accuracy=0.8, loss=0.4), _trained("stu_b", accuracy=0.9)
    assert ranking.is_ahead(better, worse, select=ACCURACY)
    assert not ranking.is_ahead(worse, better, select=ACCURACY)
    assert not ranking.is_ahead(worse, worse, select=ACCURACY)
    assert ranking.is_ahead(worse, better, select="validation_loss")


def test_without_candidates_there_is_no_best() -> None:
    assert ranking.best([], select="validation_accuracy") is None
