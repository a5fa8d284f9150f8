from __future__ import annotations

import torch

from worker.engine import meter
from worker.engine.state import Epoch
from worker.engine.train import Step


def _step(step: int, loss: float) -> Step:
    value = torch.tensor(loss)
    return Step(
        step=step, epoch=0, items=4, lr=0.1 * step, loss=value, shares={"loss.labels": value}
    )


def test_a_point_is_the_average_since_the_last() -> None:
    counted = meter.make(steps=100)
    for step, loss in enumerate([1.0, 3.0], start=1):
        counted.add(_step(step, loss))
    points = {name: (step, value) for name, step, value in counted.read(2)}
    assert points["loss"] == points["loss.labels"] == (2, 2.0)
    assert points["lr"] == (2, 0.2)
    assert points["items_per_second"][1] > 0
    counted.add(_step(3, 10.0))
    assert ("loss", 3, 10.0) in counted.read(3)


def test_points_come_every_twenty_steps_and_long_runs_have_about_five_hundred() -> None:
    short, long = meter.make(steps=100), meter.make(steps=1_000_000)
    assert (short.interval, long.interval) == (20, 2000)
    for step in range(20):
        assert not short.is_due
        short.add(_step(step, 1.0))
    assert short.is_due


def test_nothing_new_gives_no_point_and_infinity_none_either() -> None:
    counted = meter.make(steps=100)
    assert counted.read(0) == []
    counted.add(_step(1, float("inf")))
    assert counted.is_finite
    assert {name for name, _, _ in counted.read(1)} == {"lr", "items_per_second"}
    assert not counted.is_finite


def test_an_epoch_gives_what_it_was_measured_by() -> None:
    epoch = Epoch(
        epoch=0,
        step=9,
        train_accuracy=0.5,
        validation={"accuracy": 0.4, "loss": 1.5, "macro_f1": 0.3, "ece": 0.1},
    )
    points = meter.epoch_points(epoch, step=29, metric="macro_f1")
    assert {step for _, step, _ in points} == {29}
    assert {name: value for name, _, value in points} == {
        "validation_accuracy": 0.4,
        "validation_loss": 1.5,
        "validation_macro_f1": 0.3,
        "train_accuracy": 0.5,
    }
