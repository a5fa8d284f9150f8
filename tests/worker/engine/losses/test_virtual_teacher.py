from __future__ import annotations

import math

import pytest
import torch

from tests.worker.engine.losses.cases import draw
from worker.engine.losses import labels, soft_targets, virtual_teacher


def test_the_value_is_the_one_computed_by_hand() -> None:
    # v = (0.64, 0.18, 0.18); at T = 2 its roots (0.8, 0.4243, 0.4243) over their sum.
    roots = [math.sqrt(0.64), math.sqrt(0.18), math.sqrt(0.18)]
    softened = [root / sum(roots) for root in roots]
    by_hand = 4 * sum(v * math.log(v * 3) for v in softened)
    loss = virtual_teacher.loss(torch.zeros(1, 3), torch.tensor([0]), correct=0.64, temperature=2)
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_it_is_soft_targets_of_the_imagined_distribution() -> None:
    student, target = draw((4, 5), 0), torch.tensor([0, 4, 2, 2])
    imagined = torch.full((4, 5), 0.05).scatter(1, target.unsqueeze(1), 0.8).double()
    loss = virtual_teacher.loss(student, target, correct=0.8, temperature=20)
    soft = soft_targets.loss(student, imagined.log(), temperature=20)
    assert loss.item() == pytest.approx(soft.item(), rel=1e-5)


def test_at_temperature_one_its_gradient_is_that_of_smoothed_labels() -> None:
    # Section 3.3 of the paper: 0.8 and 0.05 are a smoothing by 0.25 over five classes.
    student, target = draw((4, 5), 0).requires_grad_(), torch.tensor([0, 4, 2, 2])
    ours, theirs = (
        torch.autograd.grad(loss, student)[0]
        for loss in (
            virtual_teacher.loss(student, target, correct=0.8, temperature=1),
            labels.loss(student, target, label_smoothing=0.25),
        )
    )
    assert torch.allclose(ours, theirs)


def test_rows_without_a_label_are_left_out() -> None:
    student, some = draw((3, 4), 0).requires_grad_(), torch.tensor([2, -1, 0])
    loss = virtual_teacher.loss(student, some, correct=0.9, temperature=20)
    alone = virtual_teacher.loss(student[[0, 2]], some[[0, 2]], correct=0.9, temperature=20)
    assert loss.item() == pytest.approx(alone.item())
    none = virtual_teacher.loss(student, torch.full((3,), -1), correct=0.9, temperature=20)
    (gradient,) = torch.autograd.grad(none, student)
    assert none.item() == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_the_gradient_keeps_its_scale_as_the_temperature_rises() -> None:
    def norm(temperature: float) -> float:
        student = draw((6, 5), 0).requires_grad_()
        loss = virtual_teacher.loss(
            student, torch.arange(6) % 5, correct=0.99, temperature=temperature
        )
        (gradient,) = torch.autograd.grad(loss, student)
        return float(gradient.norm())

    assert norm(500) == pytest.approx(norm(50), rel=0.1)
