"""The truth tests of a loss on logits, with and without standardisation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from worker.engine.losses import soft_targets

BOTH = pytest.mark.parametrize("standardize", [False, True])


def _logits(seed: int, *, rows: int = 6, classes: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)


def _gradient(student: Tensor, teacher: Tensor, temperature: float, standardize: bool) -> Tensor:  # noqa: FBT001 - a parameter of the tests
    student = student.clone().requires_grad_()
    loss = soft_targets.loss(student, teacher, temperature=temperature, standardize=standardize)
    (gradient,) = torch.autograd.grad(loss, student)
    return gradient


def test_the_value_is_the_one_computed_by_hand() -> None:
    # Teacher (3/4, 1/4) and student (1/2, 1/2) at T = 2, so T² = 4.
    teacher = torch.tensor([[2 * math.log(3), 0.0]])
    student = torch.tensor([[5.0, 5.0]])
    by_hand = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    loss = soft_targets.loss(student, teacher, temperature=2)
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)


def test_the_standardized_value_is_the_one_computed_by_hand() -> None:
    # (0, 0, 3) has mean 1 and deviation √2: z = (-1, -1, 2)/√2.
    z = [-1 / math.sqrt(2), -1 / math.sqrt(2), 2 / math.sqrt(2)]
    total = sum(math.exp(v / 2) for v in z)
    p = [math.exp(v / 2) / total for v in z]
    q = [p[2], p[0], p[1]]
    by_hand = 4 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    teacher, student = torch.tensor([[0.0, 0, 3]]), torch.tensor([[30.0, 0, 0]])
    loss = soft_targets.loss(student, teacher, temperature=2, standardize=True)
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_the_mean_is_over_items_not_over_classes() -> None:
    student, teacher = _logits(0), _logits(1)
    whole = soft_targets.loss(student, teacher, temperature=4)
    each = [
        soft_targets.loss(student[i : i + 1], teacher[i : i + 1], temperature=4) for i in range(6)
    ]
    assert whole.item() == pytest.approx(sum(each).item() / 6)  # type: ignore[union-attr]  # there are six


@BOTH
def test_it_is_zero_when_student_and_teacher_are_equal(standardize: bool) -> None:  # noqa: FBT001
    logits = _logits(0)
    loss = soft_targets.loss(logits, logits, temperature=4, standardize=standardize)
    assert loss.item() == pytest.approx(0, abs=1e-12)


@BOTH
def test_a_constant_added_to_a_row_changes_nothing(standardize: bool) -> None:  # noqa: FBT001
    student, teacher = _logits(0), _logits(1)
    shift = torch.arange(6, dtype=torch.float64).unsqueeze(1) * 10
    plain = soft_targets.loss(student, teacher, temperature=4, standardize=standardize)
    moved = soft_targets.loss(
        student + shift, teacher - shift, temperature=4, standardize=standardize
    )
    assert moved.item() == pytest.approx(plain.item())


def test_standardizing_makes_the_scale_of_logits_irrelevant() -> None:
    student, teacher = _logits(0), _logits(1)
    plain = soft_targets.loss(student, teacher, temperature=4, standardize=True)
    scaled = soft_targets.loss(student * 7, teacher / 9, temperature=4, standardize=True)
    assert scaled.item() == pytest.approx(plain.item())


@BOTH
def test_its_gradient_is_its_derivative(standardize: bool) -> None:  # noqa: FBT001
    student, teacher = _logits(0).requires_grad_(), _logits(1)
    assert torch.autograd.gradcheck(
        lambda s: soft_targets.loss(s, teacher, temperature=3, standardize=standardize), student
    )


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_finite_at_huge_logits(dtype: torch.dtype, standardize: bool) -> None:  # noqa: FBT001
    teacher = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype)
    student = (-teacher).requires_grad_()
    loss = soft_targets.loss(student, teacher, temperature=1, standardize=standardize)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())


@BOTH
def test_no_gradient_reaches_the_teacher(standardize: bool) -> None:  # noqa: FBT001
    student, teacher = _logits(0).requires_grad_(), _logits(1).requires_grad_()
    soft_targets.loss(student, teacher, temperature=4, standardize=standardize).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert teacher.grad is None


@BOTH
def test_the_student_moves_towards_the_teacher(standardize: bool) -> None:  # noqa: FBT001
    student, teacher = _logits(0), _logits(1)
    for _ in range(2000):
        student = student - 3 * _gradient(student, teacher, 2.0, standardize)
    assert torch.equal(student.argmax(dim=1), teacher.argmax(dim=1))
    loss = soft_targets.loss(student, teacher, temperature=2, standardize=standardize)
    assert loss.item() < 1e-3


def test_the_gradient_keeps_its_scale_as_the_temperature_rises() -> None:
    student, teacher = _logits(0), _logits(1)
    warm = _gradient(student, teacher, 50.0, standardize=False).norm()
    hot = _gradient(student, teacher, 500.0, standardize=False).norm()
    assert hot / warm == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("value", [0.0, 9999.1, -1e4])
def test_a_constant_row_is_finite_and_has_no_gradient(value: float) -> None:
    constant = torch.full((1, 7), value)
    teacher = torch.arange(7.0).unsqueeze(0)
    gradient = _gradient(constant, teacher, 4.0, standardize=True)
    assert torch.equal(gradient, torch.zeros_like(gradient))
    assert soft_targets.loss(teacher, constant, temperature=4, standardize=True).isfinite()


def test_a_batch_of_one_works() -> None:
    assert soft_targets.loss(_logits(0, rows=1), _logits(1, rows=1), temperature=4).isfinite()
