"""Means over the rows that have a label."""

from __future__ import annotations

import torch
from torch import Tensor

NO_LABEL = -1
"""What stands in place of a label that isn't known."""


def labelled(values: Tensor, labels: Tensor) -> Tensor:
    """The mean over the rows with a label; exactly 0, with its graph, where there is none.

    Args:
        values: (batch,), finite in every row, with a label or without.
        labels: (batch,), `NO_LABEL` where a row has none.

    Returns:
        A scalar.
    """
    counted = (labels != NO_LABEL).to(values.dtype)
    return ratio((values * counted).sum(), counted.sum())


def ratio(total: Tensor, count: Tensor) -> Tensor:
    """A quotient, 0 where nothing was counted; the device isn't asked which it is."""
    return total / torch.where(count > 0, count, torch.ones_like(count))
