"""The precision that losses are computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def widen(logits: Tensor) -> Tensor:
    """Half types as float32: a softmax over logits of 10^4 has no digits left in bfloat16."""
    return logits if logits.dtype == torch.float64 else logits.to(torch.float32)
