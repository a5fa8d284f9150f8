"""The teacher's distribution in two parts: the label's class, and the others (DKD).

Zhao et al. 2022, arXiv:2203.08679, equations 5 to 7.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engine.losses import precision, rows


def loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    alpha: float,
    beta: float,
    temperature: float,
) -> Tensor:
    """T² · (alpha · KL(b_t ‖ b_s) + beta · KL(o_t ‖ o_s)), averaged over the labelled rows.

    b is (p_y, 1 - p_y), o the softmax over the classes other than y, both of logits / T. Everything
    stays in log space: log(1 - p_y) is a log-sum-exp over the others. The authors' code takes the
    logarithm of a softmax, which is -inf at logits of ±10⁴, and subtracts 1000 to hide a class,
    which hides nothing there. No gradient reaches the teacher.

    Args:
        student: Logits (batch, classes), of three classes or more.
        teacher: Logits (batch, classes), in the student's class order.
        labels: (batch,); -1 where a row has none. Of a blend, the label of the larger share.
        alpha: Weight of the label's class against all others.
        beta: Weight of the distribution among the others.
        temperature: T, above 0.

    Returns:
        A scalar in nats, in float32 at least; exactly 0 where nothing is labelled.
    """
    known = labels.clamp(min=0)
    binary_s, others_s = _split(precision.widen(student) / temperature, known)
    binary_t, others_t = _split(precision.widen(teacher.detach()) / temperature, known)
    each = alpha * _divergence(binary_s, binary_t) + beta * _divergence(others_s, others_t)
    return rows.labelled(each, labels) * temperature**2


def _split(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities (batch, 2) of label and not, and (batch, classes - 1) among the others."""
    label = labels.unsqueeze(1)
    columns = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    others = logits.gather(1, columns + (columns >= label))
    binary = torch.cat([logits.gather(1, label), others.logsumexp(dim=1, keepdim=True)], dim=1)
    return F.log_softmax(binary, dim=1), F.log_softmax(others, dim=1)


def _divergence(log_student: Tensor, log_teacher: Tensor) -> Tensor:
    return F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1)
