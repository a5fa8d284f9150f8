"""Distance to the parameters that a student is held to have.

With targets P θ_teacher / λ; at λ = 1 it is L2-SP (Li, Grandvalet & Davoine 2018,
arXiv:1802.01483, equation 2), as λ grows it is weight decay.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from worker.engine.losses import precision


def penalty(parameters: Iterable[Tensor], targets: Iterable[Tensor]) -> Tensor:
    """½ Σ (θ - τ)²: a sum, as a weight decay is. No gradient reaches the targets.

    Args:
        parameters: The student's, at least one.
        targets: τ, of the same shapes in the same order.

    Returns:
        A scalar, in float32 at least.
    """
    squares = [
        (precision.widen(ours) - precision.widen(theirs.detach())).square().sum()
        for ours, theirs in zip(parameters, targets, strict=True)
    ]
    return 0.5 * torch.stack(squares).sum()
