"""Maps averaged down to fewer positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def shrink(maps: Tensor, sizes: Sequence[int]) -> Tensor:
    """Adaptive average pooling over any number of axes.

    Equal to `torch.nn.functional.adaptive_avg_pool1d` to `3d`, by one small matrix an axis:
    torch's own backward adds up in no fixed order on CUDA, and refuses to be deterministic.

    Args:
        maps: (batch, channels, *positions).
        sizes: The positions wanted along each axis, at least 1; an axis of that size stays.

    Returns:
        (batch, channels, *sizes).
    """
    for axis, size in enumerate(sizes, start=2):
        if maps.shape[axis] != size:
            windows = _windows(maps.shape[axis], size, like=maps)
            maps = (maps.movedim(axis, -1) @ windows).movedim(-1, axis)
    return maps


def _windows(old: int, new: int, *, like: Tensor) -> Tensor:
    """(old, new): column i averages the positions from floor(i·old/new) to ceil((i+1)·old/new)."""
    columns = torch.arange(new, device=like.device)
    starts = columns * old // new
    ends = ((columns + 1) * old + new - 1) // new
    places = torch.arange(old, device=like.device).unsqueeze(1)
    inside = ((places >= starts) & (places < ends)).to(like.dtype)
    return inside / inside.sum(dim=0)
