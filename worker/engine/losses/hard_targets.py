"""The class that the teacher names as the target.

Touvron et al. 2021 (DeiT, hard-label distillation), arXiv:2012.12877, equation 3.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from worker.engine.losses import precision


def loss(student: Tensor, teacher: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy with the teacher's most likely class; the first of several equal ones.

    Args:
        student: Logits (batch, classes).
        teacher: Logits (batch, classes), in the student's class order; only their order counts.
        label_smoothing: The share of the target spread evenly over all classes, in [0, 1).

    Returns:
        A scalar in nats, in float32 at least.
    """
    named = teacher.argmax(dim=1)
    return F.cross_entropy(precision.widen(student), named, label_smoothing=label_smoothing)
