"""The teacher's softened class distribution as the target.

Hinton, Vinyals & Dean 2015, arXiv:1503.02531; `standardize` after Sun et al. 2024,
arXiv:2403.01427.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engine.losses import precision

_CONSTANT = 1e-6
"""A row whose logits spread less than this says nothing; dividing by it would invent a target."""


def loss(
    student: Tensor, teacher: Tensor, *, temperature: float, standardize: bool = False
) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), averaged over the batch.

    T² keeps the gradient's scale as T changes (Hinton et al. 2015, section 2). Both sides stay
    in log space, so the value is finite at logits of ±10⁴. No gradient reaches the teacher.

    Args:
        student: Logits (batch, classes).
        teacher: Logits (batch, classes), in the student's class order.
        temperature: T, above 0.
        standardize: Z-score each row on both sides before dividing by T. Needs three classes:
            with two every z-score is ±1 and the gradient vanishes.

    Returns:
        A scalar in nats, in float32 at least.
    """
    student, teacher = precision.widen(student), precision.widen(teacher.detach())
    if standardize:
        student, teacher = _standardize(student), _standardize(teacher)
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def _standardize(logits: Tensor) -> Tensor:
    """Rows of mean 0 and standard deviation 1; a constant row becomes zeros without gradient.

    The deviation is the population's (1/K), as the paper's equation has it; the authors' code
    takes 1/(K-1) and adds 1e-7, which scales every z-score by √((K-1)/K).
    """
    # Less the first column, a constant row is exactly zero and large offsets cost no digits.
    shifted = logits - logits[:, :1].detach()
    centred = shifted - shifted.mean(dim=1, keepdim=True)
    variance = centred.square().mean(dim=1, keepdim=True)
    spread = variance > _CONSTANT**2
    # The root of a safe value on both branches: where() alone lets 0 · inf through backward.
    scale = torch.where(spread, variance, torch.ones_like(variance)).rsqrt()
    return torch.where(spread, centred * scale, torch.zeros_like(centred))
