"""What must be true of every loss, or its reason in `cases.CASES`."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from stillhouse.spec import ObjectiveTerm
from stillhouse.spec.methods import is_batch_dependent
from tests.worker.engine.losses import cases
from tests.worker.engine.losses.cases import CASES, LOGITS, Case

ALL = pytest.mark.parametrize("case", CASES, ids=str)


def holds(truth: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases.of(truth), ids=str)


def check_finite(case: Case, student: Tensor, teacher: Tensor) -> None:
    student = student.clone().requires_grad_()
    loss = case.loss(student, teacher, torch.arange(len(student)) % 5)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert loss.isfinite()
    assert loss.ndim == 0
    assert loss.dtype == (torch.float64 if student.dtype == torch.float64 else torch.float32)
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())
    assert student.grad.abs().max() < 1e6  # no 1/eps in disguise


def test_every_objective_is_a_case_and_every_exception_a_truth() -> None:
    assert {type(case.term) for case in CASES} == set(get_args(get_args(ObjectiveTerm)[0]))
    assert {truth for case in CASES for truth in case.without} <= cases.TRUTHS


@holds("zero when equal")
def test_it_is_zero_when_both_sides_are_equal(case: Case) -> None:
    student, teacher, labels = cases.sides(case)
    assert case.loss(teacher, teacher, labels).item() == pytest.approx(0, abs=1e-12)
    assert case.loss(student, teacher, labels) > 1e-3


@ALL
def test_the_student_moves_to_where_it_is_told(case: Case) -> None:
    student, teacher, labels = cases.sides(case)
    begun = case.loss(student, teacher, labels)
    student.requires_grad_()
    optimizer = torch.optim.Adam([student], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        case.loss(student, teacher, labels).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
    if case.goal == "near":
        floor = case.loss(teacher, teacher, labels)
        assert case.loss(student, teacher, labels) < floor + 0.05 * (begun - floor)
    else:
        goal = teacher.argmax(dim=1) if case.goal == "teacher" else labels
        assert torch.equal(student.argmax(dim=1), goal)


@holds("shift of logits")
def test_a_constant_added_to_a_row_changes_nothing(case: Case) -> None:
    student, teacher, labels = cases.sides(case)
    shift = torch.arange(len(student), dtype=torch.float64).unsqueeze(1) * 10
    moved = case.loss(student + shift, teacher - shift, labels)
    assert moved.item() == pytest.approx(case.loss(student, teacher, labels).item())


@holds("order of classes")
def test_the_order_of_classes_or_channels_changes_nothing(case: Case) -> None:
    student, teacher, labels = cases.sides(case)
    order = torch.randperm(student.shape[1], generator=torch.Generator().manual_seed(3))
    moved = case.loss(student[:, order], teacher[:, order], order.argsort()[labels % len(order)])
    plain = case.loss(student, teacher, labels % len(order))
    assert moved.item() == pytest.approx(plain.item())


@holds("order of items")
def test_the_order_of_items_changes_nothing(case: Case) -> None:
    student, teacher, labels = cases.sides(case)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    moved = case.loss(student[order], teacher[order], labels[order])
    assert moved.item() == pytest.approx(case.loss(student, teacher, labels).item())


@holds("mean over items")
def test_a_batch_shown_twice_has_the_same_loss(case: Case) -> None:
    student, teacher, labels = cases.sides(case)
    twice = case.loss(student.repeat(2, *[1] * (student.ndim - 1)), *_repeat(teacher, labels))
    assert twice.item() == pytest.approx(case.loss(student, teacher, labels).item())


def _repeat(teacher: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([teacher, teacher]), torch.cat([labels, labels])


@holds("more classes")
def test_classes_that_nobody_believes_in_change_nothing(case: Case) -> None:
    student, teacher, labels = cases.sides(case)
    none = torch.full_like(student, -1e6)
    wider = case.loss(torch.cat([student, none], 1), torch.cat([teacher, none], 1), labels)
    assert wider.item() == pytest.approx(case.loss(student, teacher, labels).item())


@holds("mean or batch-dependent")
def test_it_depends_on_the_batch_exactly_if_its_method_says_so(case: Case) -> None:
    student, teacher, labels = cases.sides(case)
    parts = [case.loss(student[part], teacher[part], labels[part])
             for part in (slice(0, 3), slice(3, 6))]  # fmt: skip
    whole = case.loss(student, teacher, labels).item()
    is_mean = (parts[0] + parts[1]).item() / 2 == pytest.approx(whole, rel=1e-6)
    assert is_mean != is_batch_dependent(case.term)


@ALL
def test_its_gradient_is_its_derivative(case: Case) -> None:
    student, teacher, labels = cases.sides(case, rows=4)
    if case.shape != LOGITS:
        student, teacher = student[:2, :2, :5, :5], teacher[:2, :2, :5, :5]
    labels = labels[: len(student)]
    given = student.contiguous().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: case.loss(s, teacher, labels), given)


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_is_finite_at_values_of_ten_thousand(case: Case, dtype: torch.dtype) -> None:
    teacher = (1e4 * cases.draw(case.shape, 2).sign()).to(dtype)
    check_finite(case, -teacher, teacher)
    check_finite(case, teacher, teacher)


@ALL
@pytest.mark.parametrize("value", [0.0, 1.0, 9999.1])
def test_it_is_finite_when_a_side_is_constant(case: Case, value: float) -> None:
    other = cases.draw(case.shape, 1).to(torch.float32)
    constant = torch.full_like(other, value)
    check_finite(case, constant, other)
    check_finite(case, other, constant)
    check_finite(case, constant, constant)


@ALL
def test_it_is_finite_when_all_items_are_one_item(case: Case) -> None:
    other = cases.draw(case.shape, 1).to(torch.float32)
    same = other[:1].expand_as(other)
    check_finite(case, same, other)
    check_finite(case, other, same)


@ALL
def test_a_batch_of_one_is_finite(case: Case) -> None:
    student, teacher, _ = cases.sides(case, rows=1)
    check_finite(case, student, teacher)


@holds("one item")
def test_a_batch_of_one_teaches(case: Case) -> None:
    assert cases.gradient(case, *cases.sides(case, rows=1)).norm() > 1e-6


@holds("no gradient to teacher")
def test_no_gradient_reaches_the_teacher(case: Case) -> None:
    student, teacher, labels = cases.sides(case)
    teacher.requires_grad_()
    case.loss(student.requires_grad_(), teacher, labels).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert student.grad is not None
    assert teacher.grad is None
