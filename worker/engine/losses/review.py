"""The hierarchical context loss of knowledge review (ReviewKD).

Chen et al. 2021, arXiv:2104.09044, section 3.4; weights as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from worker.engine.losses import pooling, precision

_LEVELS = (4, 2, 1)
"""Positions along each axis of the coarser levels; each level counts half of the one before."""


def loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Mean squared errors at full size and pooled to 4x4, 2x2 and 1x1, summed over the stages.

    A stage's levels are weighted 1, 1/2, 1/4, 1/8 and divided by the sum of those it has; one as
    large as the map or larger is left out. No gradient reaches the teacher.

    Args:
        student: A stage's fused map (batch, channels, height, width) each.
        teacher: The teacher's maps, in the same order and of the same shapes.

    Returns:
        A scalar in the teacher's squared units, in float32 at least.
    """
    stages = [
        _compare(precision.widen(ours), precision.widen(theirs.detach()))
        for ours, theirs in zip(student, teacher, strict=True)
    ]
    return sum(stages[1:], start=stages[0])


def _compare(student: Tensor, teacher: Tensor) -> Tensor:
    value, weight, total = F.mse_loss(student, teacher), 1.0, 1.0
    for level in _LEVELS:
        if level < student.shape[2]:
            weight, size = weight / 2, (level, level)
            ours, theirs = pooling.shrink(student, size), pooling.shrink(teacher, size)
            value, total = value + weight * F.mse_loss(ours, theirs), total + weight
    return value / total
