from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.worker.engine.losses.cases import draw
from worker.engine.losses import correlation


def loss(student: Tensor, teacher: Tensor, *, inter: float, intra: float) -> Tensor:
    return correlation.loss(student, teacher, inter=inter, intra=intra, temperature=2)


def test_the_values_are_those_of_pearsons_correlation() -> None:
    student, teacher = draw((6, 5), 0), draw((6, 5), 1)
    p, q = (student / 2).softmax(dim=1).numpy(), (teacher / 2).softmax(dim=1).numpy()
    rows = sum(1 - np.corrcoef(p[i], q[i])[0, 1] for i in range(6)) / 6
    columns = sum(1 - np.corrcoef(p[:, c], q[:, c])[0, 1] for c in range(5)) / 5
    assert loss(student, teacher, inter=1, intra=0).item() == pytest.approx(4 * rows)
    assert loss(student, teacher, inter=0, intra=1).item() == pytest.approx(4 * columns)
    both = loss(student, teacher, inter=3, intra=5).item()
    assert both == pytest.approx(4 * (3 * rows + 5 * columns))


def test_opposite_preferences_are_at_the_distance_of_two() -> None:
    teacher = torch.tensor([[math.log(1), math.log(2), math.log(3)]]) * 2
    student = torch.tensor([[math.log(3), math.log(2), math.log(1)]]) * 2
    assert loss(student, teacher, inter=1, intra=0).item() == pytest.approx(4 * 2)


@pytest.mark.parametrize(("shape", "inter"), [((6, 2), 1.0), ((2, 6), 0.0)])
def test_two_points_say_nothing(shape: tuple[int, int], inter: float) -> None:
    student = draw(shape, 0).requires_grad_()
    value = loss(student, draw(shape, 1), inter=inter, intra=1 - inter)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_with_two_classes_the_part_over_the_batch_teaches() -> None:
    student = draw((6, 2), 0).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(student, draw((6, 2), 1), inter=1, intra=1), student)
    assert gradient.norm() > 1e-3


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_a_class_that_is_always_improbable_still_correlates(scale: float) -> None:
    # Probabilities of e-80 and less, whose squares are no float32.
    rare = torch.tensor([[0.0, 0, -2], [0, 0, -1], [0, 0, -1.5], [0, 0, -1.2]]) * scale
    value = loss(rare, rare.flip(0), inter=0, intra=1)
    assert value.item() > 0.5


def test_a_row_that_one_side_has_constant_has_no_distance_and_no_gradient() -> None:
    student = torch.zeros(3, 5, requires_grad=True)
    value = loss(student, draw((3, 5), 1).float(), inter=1, intra=0)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == 0
    assert torch.equal(gradient, torch.zeros_like(student))
