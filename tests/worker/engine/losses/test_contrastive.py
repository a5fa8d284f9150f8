from __future__ import annotations

import math

import pytest
import torch

from tests.worker.engine.losses.cases import draw
from worker.engine.losses import contrastive, directions


def test_the_value_is_the_one_computed_by_hand() -> None:
    # Scores 2, 0 and -2 at T = 1/2; Z = 1, K = 2: odds e^2/2, 1/2 and e^-2/2.
    anchor = torch.tensor([[1.0, 0]])
    negatives = torch.tensor([[[0.0, 1], [-1, 0]]])
    loss = contrastive.loss(anchor, anchor, negatives, temperature=0.5, log_mean=torch.tensor(0.0))
    odds = [math.exp(2) / 2, 0.5, math.exp(-2) / 2]
    by_hand = -math.log(odds[0] / (1 + odds[0])) + sum(math.log(1 + odd) for odd in odds[1:])
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_the_normalisation_is_the_mean_over_all_that_is_compared() -> None:
    anchor, positive = draw((4, 3), 0), draw((4, 3), 1)
    negatives = draw((4, 5, 3), 2)
    own = (anchor * positive).sum(dim=1, keepdim=True)
    scores = torch.cat([own, (negatives @ anchor.unsqueeze(2)).squeeze(2)], dim=1)
    found = contrastive.log_mean(anchor, positive, negatives, temperature=2)
    assert found.item() == pytest.approx((scores / 2).exp().mean().log().item())


def test_negatives_shared_by_the_batch_are_those_of_each_item() -> None:
    anchor, memory, shared = draw((4, 3), 0), draw((4, 3), 1), draw((5, 3), 2)
    one, other = (
        contrastive.loss(anchor, memory, given, temperature=1, log_mean=torch.tensor(0.3))
        for given in (shared, shared.expand(4, 5, 3))
    )
    assert one.item() == pytest.approx(other.item())


def test_negatives_that_do_not_count_are_as_if_they_were_not_there() -> None:
    anchor, memory, shared = draw((2, 3), 0), draw((2, 3), 1), draw((4, 3), 2)
    allowed = torch.tensor([[True, False, True, False], [False, True, False, True]])
    own = torch.stack([shared[row] for row in allowed])
    log_mean = torch.tensor(0.3)
    masked = contrastive.loss(
        anchor, memory, shared, temperature=1, log_mean=log_mean, allowed=allowed
    )
    alone = contrastive.loss(anchor, memory, own, temperature=1, log_mean=log_mean)
    assert masked.item() == pytest.approx(alone.item())
    masked = contrastive.log_mean(anchor, memory, shared, temperature=1, allowed=allowed)
    alone = contrastive.log_mean(anchor, memory, own, temperature=1)
    assert masked.item() == pytest.approx(alone.item())


def test_it_is_finite_with_no_negative_at_all() -> None:
    anchor = directions.unit(draw((2, 3), 0), dim=1)
    none = torch.zeros(2, 4, dtype=torch.bool)
    rows = draw((4, 3), 1)
    log_mean = contrastive.log_mean(anchor, anchor, rows, temperature=0.07, allowed=none)
    loss = contrastive.loss(anchor, anchor, rows, temperature=0.07, log_mean=log_mean, allowed=none)
    assert loss.isfinite()


def test_the_memory_has_no_gradient() -> None:
    anchor, memory = draw((2, 3), 0).requires_grad_(), draw((2, 3), 1).requires_grad_()
    negatives = draw((4, 3), 2).requires_grad_()
    contrastive.loss(
        anchor, memory, negatives, temperature=1, log_mean=torch.tensor(0.3)
    ).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert anchor.grad is not None
    assert memory.grad is None
    assert negatives.grad is None
