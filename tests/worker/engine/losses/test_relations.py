from __future__ import annotations

import math

import pytest
import torch

from tests.worker.engine.losses.cases import draw
from worker.engine.losses import relations

EQUILATERAL = torch.tensor([[0.0, 0], [1, 0], [0.5, math.sqrt(3) / 2]])
RIGHT = torch.tensor([[0.0, 0], [1, 0], [0, 1]])


def _huber(difference: float) -> float:
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


def test_distances_are_compared_in_units_of_their_mean() -> None:
    mean = (1 + 1 + math.sqrt(2)) / 3
    by_hand = 2 * sum(_huber(1 - d / mean) for d in (1, 1, math.sqrt(2))) / 9
    loss = relations.loss(EQUILATERAL, 5 * RIGHT, distance=3, angle=0)
    assert loss.item() == pytest.approx(3 * by_hand, rel=1e-5)


def test_angles_are_compared_by_their_cosines() -> None:
    # All of 60 degrees against 90, 45, 45; each angle stands twice, cosines of 1 once a side.
    by_hand = 2 * (_huber(0.5 - 0) + 2 * _huber(0.5 - math.sqrt(0.5))) / 27
    loss = relations.loss(EQUILATERAL, RIGHT, distance=0, angle=2)
    assert loss.item() == pytest.approx(2 * by_hand, rel=1e-5)


def test_a_similar_figure_is_equal_wherever_it_lies() -> None:
    teacher = draw((6, 3), 0)
    rotation, _ = torch.linalg.qr(draw((5, 3), 1))
    moved = 7 * teacher @ rotation.T + 100
    loss = relations.loss(moved, teacher, distance=25, angle=50)
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_two_items_have_nothing_to_compare() -> None:
    student = draw((2, 3), 0).requires_grad_()
    loss = relations.loss(student, draw((2, 3), 1), distance=25, angle=50)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert gradient.abs().max() < 1e-12


def test_two_points_that_coincide_leave_the_others_their_gradient() -> None:
    student = draw((5, 3), 0).float()
    student[1] = student[0]
    student.requires_grad_()
    loss = relations.loss(student, draw((5, 3), 1).float(), distance=25, angle=50)
    (gradient,) = torch.autograd.grad(loss, student)
    assert 1e-3 < gradient.norm() < 1e3
