from __future__ import annotations

import pytest
import torch

from worker.engine.losses import parameter_ratio


def test_it_is_half_the_sum_of_squares_over_all_tensors() -> None:
    parameters = [torch.tensor([1.0, 2]), torch.tensor([[3.0]])]
    targets = [torch.tensor([1.0, 0]), torch.tensor([[0.0]])]
    assert parameter_ratio.penalty(parameters, targets).item() == pytest.approx((4 + 9) / 2)


def test_with_targets_of_zero_its_gradient_is_a_weight_decay() -> None:
    parameter = torch.randn(5, requires_grad=True)
    loss = 0.3 * parameter_ratio.penalty([parameter], [torch.zeros(5)])
    (gradient,) = torch.autograd.grad(loss, parameter)
    assert torch.allclose(gradient, 0.3 * parameter)


def test_parameters_without_a_target_are_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        parameter_ratio.penalty([torch.zeros(1), torch.zeros(1)], [torch.zeros(1)])
