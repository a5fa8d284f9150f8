"""Directions of vectors, also of those that have none."""

from __future__ import annotations

import torch
from torch import Tensor

_SHORTEST = 1e-12
"""A vector shorter than this has no direction; as in `torch.nn.functional.normalize`."""


def unit(vectors: Tensor, *, dim: int) -> Tensor:
    """Vectors of length 1; one without length becomes zero, and its gradient too.

    `torch.nn.functional.normalize` divides such a vector by 1e-12, which is finite forward and a
    gradient of 1e12 backward.

    Args:
        vectors: Of any shape, in float32 at least.
        dim: The axis along which a vector lies.

    Returns:
        The same shape.
    """
    squares = vectors.square().sum(dim=dim, keepdim=True)
    has_one = squares > _SHORTEST**2
    # The root of a safe value on both branches: where() alone lets 0 · inf through backward.
    scale = torch.where(has_one, squares, torch.ones_like(squares)).rsqrt()
    return torch.where(has_one, vectors * scale, torch.zeros_like(vectors))
