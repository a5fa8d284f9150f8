from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from worker.engine.batch import Mix
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


def test_rows_without_a_label_are_left_out_of_the_mean() -> None:
    student = torch.randn(4, 3, requires_grad=True)
    loss = labels.loss(student, torch.tensor([0, -1, 2, -1]), label_smoothing=0.1)
    alone = labels.loss(student[[0, 2]], torch.tensor([0, 2]), label_smoothing=0.1)
    assert loss.item() == pytest.approx(alone.item())
    (gradient,) = torch.autograd.grad(loss, student)
    assert torch.equal(gradient[[1, 3]], torch.zeros(2, 3))


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2, 3])])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_batch_without_labels_is_zero_with_a_graph(weights: Tensor | None, mixed: bool) -> None:  # noqa: FBT001 - a parameter of the tests
    student = torch.randn(2, 3, requires_grad=True)
    none = torch.tensor([-1, -1])
    mix = Mix(none, torch.tensor([0.3, 0.5])) if mixed else None
    loss = labels.loss(student, none, class_weights=weights, mix=mix)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == 0
    assert torch.equal(gradient, torch.zeros_like(student))


def test_class_weights_count_as_that_many_rows() -> None:
    student, target = torch.randn(3, 3), torch.tensor([0, 1, 1])
    weighted = labels.loss(student, target, class_weights=torch.tensor([1.0, 2, 5]))
    rows = torch.tensor([0, 1, 1, 2, 2])
    assert weighted.item() == pytest.approx(labels.loss(student[rows], target[rows]).item())


def test_a_weight_of_zero_leaves_a_class_out() -> None:
    student = torch.randn(2, 2)
    weights = torch.tensor([1.0, 0])
    loss = labels.loss(student, torch.tensor([0, 1]), class_weights=weights)
    assert loss.item() == pytest.approx(labels.loss(student[:1], torch.tensor([0])).item())
    assert labels.loss(student, torch.tensor([1, 1]), class_weights=weights).item() == 0


def test_a_blend_counts_as_its_labels_by_their_shares() -> None:
    student = torch.randn(2, 3)
    first, second = torch.tensor([0, 1]), torch.tensor([2, 1])
    share = torch.tensor([0.25, 0.9])
    loss = labels.loss(student, first, mix=Mix(second, share))
    log_p = student.log_softmax(dim=1)
    by_hand = -(0.25 * log_p[0, 0] + 0.75 * log_p[0, 2] + log_p[1, 1]) / 2
    assert loss.item() == pytest.approx(by_hand.item())


def test_of_a_half_labelled_blend_the_known_label_counts_with_its_share() -> None:
    student = torch.randn(2, 3)
    mix = Mix(torch.tensor([-1, 2]), torch.tensor([0.25, 0.5]))
    loss = labels.loss(student, torch.tensor([0, 1]), mix=mix)
    log_p = student.log_softmax(dim=1)
    by_hand = -(0.25 * log_p[0, 0] + 0.5 * log_p[1, 1] + 0.5 * log_p[1, 2]) / 1.25
    assert loss.item() == pytest.approx(by_hand.item())


def test_plain_labels_are_those_of_equal_weights_and_no_blend() -> None:
    student, target = torch.randn(5, 3), torch.tensor([0, 1, -1, 2, 0])
    plain = labels.loss(student, target, label_smoothing=0.1)
    nothing = Mix(target.roll(1), torch.ones(5))
    weighted = labels.loss(
        student, target, label_smoothing=0.1, class_weights=torch.full((3,), 0.7), mix=nothing
    )
    assert weighted.item() == pytest.approx(plain.item())
