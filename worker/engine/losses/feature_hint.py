"""Distance to one of the teacher's activations.

Romero et al. 2015 (FitNets), arXiv:1412.6550, equation 3, beside the other terms instead of in a
stage before them.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from worker.engine.losses import directions, precision

Distance = Literal["mse", "cosine"]


def loss(projected: Tensor, teacher: Tensor, *, distance: Distance) -> Tensor:
    """Mean squared error over all elements, or 1 - cosine averaged over items and positions.

    A position at which the teacher is zero has no direction and gives a cosine distance of 0. No
    gradient reaches the teacher.

    Args:
        projected: The student's activation (batch, channels, *positions), through its projector.
        teacher: The same shape.
        distance: "mse" in the teacher's squared units, or "cosine" from 0 to 2.

    Returns:
        A scalar, in float32 at least.
    """
    projected, teacher = precision.widen(projected), precision.widen(teacher.detach())
    if distance == "mse":
        return F.mse_loss(projected, teacher)
    target = directions.unit(teacher, dim=1)
    # target · (target - student): 1 - cosine, and 0 where there is no target.
    return (target * (target - directions.unit(projected, dim=1))).sum(dim=1).mean()
