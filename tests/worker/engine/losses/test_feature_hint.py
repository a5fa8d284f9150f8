from __future__ import annotations

import pytest
import torch

from tests.worker.engine.losses.cases import draw
from worker.engine.losses import feature_hint


def test_mse_is_the_mean_over_all_elements() -> None:
    student, teacher = torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[1.0, 0], [0, 4]])
    loss = feature_hint.loss(student, teacher, distance="mse")
    assert loss.item() == pytest.approx((4 + 9) / 4)


def test_cosine_is_taken_along_channels_at_each_position() -> None:
    # (batch 1, channels 2, positions 3): equal direction, orthogonal, opposite.
    student = torch.tensor([[[3.0, 1, 1], [0, 0, 1]]])
    teacher = torch.tensor([[[1.0, 0, -2], [0, 5, -2]]])
    loss = feature_hint.loss(student, teacher, distance="cosine")
    assert loss.item() == pytest.approx((0 + 1 + 2) / 3)


def test_the_length_of_vectors_makes_no_difference_to_a_cosine() -> None:
    student, teacher = draw((3, 4), 0), draw((3, 4), 1)
    plain = feature_hint.loss(student, teacher, distance="cosine")
    scaled = feature_hint.loss(student * 7, teacher / 9, distance="cosine")
    assert scaled.item() == pytest.approx(plain.item())


def test_where_the_teacher_is_zero_there_is_no_direction_to_take() -> None:
    student = torch.ones(1, 2, 2, requires_grad=True)
    teacher = torch.tensor([[[0.0, 1], [0, 0]]])
    loss = feature_hint.loss(student, teacher, distance="cosine")
    assert loss.item() == pytest.approx((0 + 1 - 0.5**0.5) / 2)
    (gradient,) = torch.autograd.grad(loss, student)
    assert torch.equal(gradient[..., 0], torch.zeros(1, 2))
