"""The similarities of a batch's items (SP).

Tung & Mori 2019, arXiv:1907.09682.
"""

from __future__ import annotations

from torch import Tensor

from worker.engine.losses import directions, precision


def loss(student: Tensor, teacher: Tensor) -> Tensor:
    """‖G_s - G_t‖² / batch², G = F Fᵀ with each row over its norm.

    Widths may differ: only the batch-by-batch matrices are compared. A batch of one is always
    similar to itself: 0. No gradient reaches the teacher. Depends on the batch.

    Args:
        student: Activations (batch, features).
        teacher: Activations (batch, features), of any width.

    Returns:
        A scalar, in float32 at least.
    """
    return (_similarities(student) - _similarities(teacher.detach())).square().mean()


def _similarities(features: Tensor) -> Tensor:
    features = precision.widen(features)
    return directions.unit(features @ features.T, dim=1)
