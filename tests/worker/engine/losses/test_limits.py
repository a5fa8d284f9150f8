"""What `stillhouse.spec.methods` says of a loss's limits is true of the loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stillhouse.spec import ObjectiveTerm
from stillhouse.spec.methods import min_batch, min_classes
from tests.worker.engine.losses.cases import draw, term
from worker.engine.losses import correlation, decoupled, relations, similarity, soft_targets

Loss = Callable[[Tensor, Tensor], Tensor]


def pull(loss: Loss, shape: tuple[int, int]) -> float:
    """How strongly a loss pulls at a student of that shape."""
    student = draw(shape, 0, scale=1).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(student, draw(shape, 1, scale=1)), student)
    return float(gradient.norm())


@pytest.mark.parametrize(
    ("spec", "loss"),
    [
        (
            term("soft_targets", standardize=True),
            lambda s, t: soft_targets.loss(s, t, temperature=4, standardize=True),
        ),
        (
            term("decoupled", alpha=0),
            lambda s, t: decoupled.loss(
                s, t, torch.zeros(len(s), dtype=torch.int64), alpha=0, beta=8, temperature=4
            ),
        ),
        (
            term("correlation", intra=0),
            lambda s, t: correlation.loss(s, t, inter=1, intra=0, temperature=1),
        ),
    ],
)
def test_with_a_class_less_than_it_needs_a_loss_teaches_nothing(
    spec: ObjectiveTerm, loss: Loss
) -> None:
    enough = min_classes(spec)
    assert enough == 3
    assert pull(loss, (6, enough - 1)) < 1e-9
    assert pull(loss, (6, enough)) > 1e-4


@pytest.mark.parametrize(
    ("spec", "loss"),
    [
        (term("similarity"), similarity.loss),
        (term("relations"), lambda s, t: relations.loss(s, t, distance=25, angle=0)),
        (term("relations"), lambda s, t: relations.loss(s, t, distance=0, angle=50)),
        (
            term("correlation", inter=0),
            lambda s, t: correlation.loss(s, t, inter=0, intra=1, temperature=1),
        ),
    ],
)
def test_with_an_item_less_than_it_needs_a_loss_teaches_nothing(
    spec: ObjectiveTerm, loss: Loss
) -> None:
    enough = min_batch(spec)
    assert pull(loss, (enough - 1, 4)) < 1e-9
    assert pull(loss, (enough, 4)) > 1e-4
