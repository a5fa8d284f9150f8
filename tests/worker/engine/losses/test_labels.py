from __future__ import annotations

import math

import pytest
import torch

from worker.engine.losses import labels


def test_the_value_is_the_one_computed_by_hand() -> None:
    student = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    loss = labels.loss(student, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_smoothing_spreads_its_share_over_all_classes() -> None:
    student = torch.tensor([[math.log(3), 0.0]])
    loss = labels.loss(student, torch.tensor([0]), label_smoothing=0.2)
    assert loss.item() == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4))


def test_a_constant_added_to_a_row_changes_nothing() -> None:
    student = torch.tensor([[1.0, 2.0, 4.0]])
    plain = labels.loss(student, torch.tensor([1]))
    assert labels.loss(student + 100, torch.tensor([1])).item() == pytest.approx(plain.item())


def test_its_gradient_is_its_derivative() -> None:
    student = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 1, 2, 1])
    assert torch.autograd.gradcheck(lambda s: labels.loss(s, target, label_smoothing=0.1), student)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_finite_at_huge_logits(dtype: torch.dtype) -> None:
    student = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    loss = labels.loss(student, torch.tensor([1]))
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())
