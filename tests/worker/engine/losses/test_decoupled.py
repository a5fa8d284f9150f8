from __future__ import annotations

import math

import pytest
import torch

from tests.worker.engine.losses.cases import draw
from worker.engine.losses import decoupled, soft_targets


def test_the_value_is_the_one_computed_by_hand() -> None:
    # Of label 0: the teacher has (1/2; 1/4, 1/4), the student (1/3; 1/3, 1/3); others are equal.
    teacher = torch.tensor([[math.log(2), 0.0, 0.0]])
    student = torch.zeros(1, 3)
    label = torch.tensor([0])
    binary = 0.5 * math.log(0.5 / (1 / 3)) + 0.5 * math.log(0.5 / (2 / 3))
    loss = decoupled.loss(student, teacher, label, alpha=3, beta=7, temperature=1)
    assert loss.item() == pytest.approx(3 * binary, rel=1e-5)
    # Of label 1 the others are (2/3, 1/3) for the teacher and (1/2, 1/2) for the student.
    label = torch.tensor([1])
    binary = 0.25 * math.log(0.25 / (1 / 3)) + 0.75 * math.log(0.75 / (2 / 3))
    others = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    loss = decoupled.loss(student, teacher, label, alpha=3, beta=7, temperature=1)
    assert loss.item() == pytest.approx(3 * binary + 7 * others, rel=1e-5)


def test_with_the_weights_that_couple_them_the_parts_are_the_divergence() -> None:
    # Equation 5 of the paper: KL = TCKD + (1 - p_y of the teacher) NCKD.
    student, teacher = draw((1, 5), 0), draw((1, 5), 1)
    p = (teacher / 2).softmax(dim=1)[0, 3].item()
    label = torch.tensor([3])
    loss = decoupled.loss(student, teacher, label, alpha=1, beta=1 - p, temperature=2)
    assert loss.item() == pytest.approx(soft_targets.loss(student, teacher, temperature=2).item())


def test_rows_without_a_label_are_left_out() -> None:
    student, teacher = draw((3, 4), 0).requires_grad_(), draw((3, 4), 1)
    some, kept = torch.tensor([2, -1, 0]), [0, 2]
    options = {"alpha": 1.0, "beta": 8.0, "temperature": 4.0}
    loss = decoupled.loss(student, teacher, some, **options)
    alone = decoupled.loss(student[kept], teacher[kept], some[kept], **options)
    assert loss.item() == pytest.approx(alone.item())
    none = decoupled.loss(student, teacher, torch.full((3,), -1), **options)
    (gradient,) = torch.autograd.grad(none, student)
    assert none.item() == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_the_gradient_keeps_its_scale_as_the_temperature_rises() -> None:
    def norm(temperature: float) -> float:
        student = draw((6, 5), 0).requires_grad_()
        labels = torch.arange(6) % 5
        loss = decoupled.loss(
            student, draw((6, 5), 1), labels, alpha=1, beta=8, temperature=temperature
        )
        (gradient,) = torch.autograd.grad(loss, student)
        return float(gradient.norm())

    assert norm(500) == pytest.approx(norm(50), rel=0.1)
