"""Soft targets of a teacher that is only imagined (Tf-KD_reg).

Yuan et al. 2020, arXiv:1909.11723, equations 11 and 12.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engine.losses import precision, rows


def loss(student: Tensor, labels: Tensor, *, correct: float, temperature: float) -> Tensor:
    """T² · KL(softmax(log v / T) ‖ softmax(student / T)), averaged over the labelled rows.

    v gives `correct` to the label's class and (1 - correct) / (classes - 1) to each other one. It
    is softened like any teacher: log v are its logits, and T = 1 gives v back. The authors' code
    softens v itself, as if probabilities were logits, so that even T = 1 is nearly uniform; leaves
    the student as it is; and averages over classes too. That is not the paper's equation. T² keeps
    the gradient's scale as in `soft_targets`.

    Args:
        student: Logits (batch, classes), of two classes or more.
        labels: (batch,); -1 where a row has none. Of a blend, the label of the larger share.
        correct: The probability of the label's class, in (0, 1).
        temperature: T, above 0.

    Returns:
        A scalar in nats, in float32 at least; exactly 0 where nothing is labelled.
    """
    log_student = F.log_softmax(precision.widen(student) / temperature, dim=1)
    other = math.log1p(-correct) - math.log(student.shape[1] - 1)
    virtual = torch.full_like(log_student, other)
    virtual.scatter_(1, labels.clamp(min=0).unsqueeze(1), math.log(correct))
    log_virtual = F.log_softmax(virtual / temperature, dim=1)
    each = F.kl_div(log_student, log_virtual, reduction="none", log_target=True).sum(dim=1)
    return rows.labelled(each, labels) * temperature**2
