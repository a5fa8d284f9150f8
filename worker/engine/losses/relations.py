"""Distances and angles between a batch's items (RKD).

Park et al. 2019, arXiv:1904.05068, equations 5 to 9.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engine.losses import directions, precision, rows


def loss(student: Tensor, teacher: Tensor, *, distance: float, angle: float) -> Tensor:
    """Mean Huber loss of pairs' distances and of triples' cosines, each with its weight.

    Distances are divided by their mean over the batch, on each side. The means run over all
    batch² pairs and batch³ triples, degenerate ones included, as in the authors' code, for which
    the weights are published. Points that coincide have distance 0 and no angle. With fewer than
    three items there is nothing to compare: 0, but for rounding. No gradient reaches the teacher.
    Depends on the batch; memory grows as batch² · features + batch³.

    Args:
        student: Activations (batch, features).
        teacher: Activations (batch, features), of any width.
        distance: Weight of the distances.
        angle: Weight of the angles.

    Returns:
        A scalar, in float32 at least.
    """
    student, teacher = precision.widen(student), precision.widen(teacher.detach())
    ours, theirs = _differences(student), _differences(teacher)
    return distance * F.smooth_l1_loss(_distances(ours), _distances(theirs)) + (
        angle * F.smooth_l1_loss(_cosines(ours), _cosines(theirs))
    )


def _differences(points: Tensor) -> Tensor:
    """(batch, batch, features): from item i to item j. Not by inner products: they cancel."""
    return points.unsqueeze(0) - points.unsqueeze(1)


def _distances(differences: Tensor) -> Tensor:
    """(batch, batch), over the mean of those above 0."""
    squares = differences.square().sum(dim=2)
    apart = squares > 0
    # The root of a safe value on both branches: where() alone lets 0 · inf through backward.
    roots = torch.where(apart, squares, torch.ones_like(squares)).sqrt()
    distances = torch.where(apart, roots, torch.zeros_like(roots))
    mean = rows.ratio(distances.sum(), apart.sum().to(distances.dtype))
    return rows.ratio(distances, mean)


def _cosines(differences: Tensor) -> Tensor:
    """(batch, batch, batch): at item i, between the ways to j and to k."""
    ways = directions.unit(differences, dim=2)
    return ways @ ways.transpose(1, 2)
