"""Cross-entropy with the dataset's labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from worker.engine.losses import precision


def loss(student: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of a batch.

    Args:
        student: Logits (batch, classes).
        labels: (batch,), from 0 to classes - 1.
        label_smoothing: The share of the target spread evenly over all classes, in [0, 1)
            (Szegedy et al. 2016, arXiv:1512.00567).

    Returns:
        A scalar in nats, in float32 at least.
    """
    return F.cross_entropy(precision.widen(student), labels, label_smoothing=label_smoothing)
