from __future__ import annotations

import pytest

from stillhouse.spec import EarlyStopping
from worker.engine import choice
from worker.engine.state import Epoch


def _history(*values: float, metric: str = "accuracy") -> list[Epoch]:
    return [Epoch(epoch=e, step=e, train_accuracy=0, validation={metric: v})
            for e, v in enumerate(values)]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "over"),
    [
        ((), False),
        ((0.5,), False),
        ((0.5, 0.4), False),
        ((0.5, 0.4, 0.5), True),
        ((0.5, 0.4, 0.6), False),
        ((0.5, 0.6, 0.6, 0.6), True),
    ],
)
def test_it_is_over_after_so_many_epochs_without_a_better_one(
    values: tuple[float, ...],
    over: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert choice.is_over(_history(*values), EarlyStopping(patience=2), metric="accuracy") == over


def test_what_is_better_by_too_little_is_not_better() -> None:
    rising = _history(0.50, 0.504, 0.508, 0.512)
    assert choice.is_over(rising, EarlyStopping(patience=2, min_delta=0.01), metric="accuracy") is (
        False
    )
    assert choice.is_over(rising, EarlyStopping(patience=2, min_delta=0.02), metric="accuracy")


def test_errors_are_better_when_they_fall() -> None:
    falling = _history(0.5, 0.4, 0.3, metric="loss")
    assert not choice.is_over(falling, EarlyStopping(patience=1), metric="loss")
    assert choice.is_better(0.3, 0.4, metric="ece")
    assert not choice.is_better(0.3, 0.4, metric="macro_f1")
    assert not choice.is_better(0.3, 0.3, metric="loss")


def test_without_a_rule_it_is_never_over() -> None:
    assert not choice.is_over(_history(*[0.5] * 50), None, metric="accuracy")
