from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.worker.engine.losses.cases import draw
from worker.engine.losses import attention_maps


def test_the_value_is_the_one_computed_by_hand() -> None:
    # Sums of squares (9 + 16, 0) and (0, 4): directions (1, 0) and (0, 1).
    student = torch.tensor([[[3.0, 0], [4, 0]]])
    teacher = torch.tensor([[[0.0, 2]]])
    assert attention_maps.loss([(student, teacher)]).item() == pytest.approx((1 + 1) / 2)


def test_pairs_are_added_up() -> None:
    pairs = [(draw((2, 3, 4, 4), seed), draw((2, 5, 4, 4), seed + 9)) for seed in (0, 1)]
    each = [attention_maps.loss([pair]).item() for pair in pairs]
    assert attention_maps.loss(pairs).item() == pytest.approx(sum(each))


def test_the_larger_map_is_averaged_down() -> None:
    large, small = draw((2, 3, 8, 6), 0), draw((2, 5, 4, 3), 1)
    pooled = F.adaptive_avg_pool2d(large, (4, 3))
    expected = attention_maps.loss([(pooled, small)]).item()
    assert attention_maps.loss([(large, small)]).item() == pytest.approx(expected)
    assert attention_maps.loss([(small, large)]).item() == pytest.approx(expected)


def test_the_strength_of_activations_makes_no_difference() -> None:
    student, teacher = draw((2, 3, 4, 4), 0), draw((2, 3, 4, 4), 1)
    plain = attention_maps.loss([(student, teacher)])
    scaled = attention_maps.loss([(student * 1e-3, -teacher * 1e3)])
    assert scaled.item() == pytest.approx(plain.item())


def test_a_map_of_zeros_has_no_gradient() -> None:
    student = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = attention_maps.loss([(student, draw((2, 3, 4, 4), 1).float())])
    (gradient,) = torch.autograd.grad(loss, student)
    assert torch.equal(gradient, torch.zeros_like(gradient))
