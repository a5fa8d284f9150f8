"""Correlation with the teacher's probabilities, over classes and over the batch (DIST).

Huang et al. 2022, arXiv:2205.10536.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worker.engine.losses import directions, precision

_CONSTANT = 1e-6
"""What spreads less than this share of its size is constant: rounding is 1e-7 of it."""


def loss(
    student: Tensor, teacher: Tensor, *, inter: float, intra: float, temperature: float
) -> Tensor:
    """T² · (inter · (1 - r over classes) + intra · (1 - r over the batch)).

    r is Pearson's correlation of softmax(· / T), averaged over items for `inter` and over classes
    for `intra`; T² as in the authors' code. Two points always lie on a line, so with two classes
    `inter` is 0, with two items `intra`. A row or column that is constant on either side has no
    correlation and gives 0 without gradient; the authors' code gives 1. No gradient reaches the
    teacher. Depends on the batch.

    Args:
        student: Logits (batch, classes).
        teacher: Logits (batch, classes), in the student's class order.
        inter: Weight of the correlation over an item's classes.
        intra: Weight of the correlation over the batch, class by class.
        temperature: T, above 0.

    Returns:
        A scalar from 0 to 2 T² (inter + intra), in float32 at least.
    """
    p_student = (precision.widen(student) / temperature).softmax(dim=1)
    p_teacher = (precision.widen(teacher.detach()) / temperature).softmax(dim=1)
    value = inter * _distance(p_student, p_teacher) + intra * _distance(p_student.T, p_teacher.T)
    return value * temperature**2


def _distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - Pearson's correlation along each row, averaged over the rows."""
    if student.shape[1] < 3:
        return (student * 0).sum()
    (one, spreads_one), (other, spreads_other) = _centre(student), _centre(teacher)
    distances = 1 - (one * other).sum(dim=1)
    return torch.where(spreads_one & spreads_other, distances, torch.zeros_like(distances)).mean()


def _centre(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows less their mean, of length 1, and whether each one spreads at all."""
    # By its largest value, so that squares of small probabilities don't vanish.
    rows = rows / rows.detach().amax(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
    centred = rows - rows.mean(dim=1, keepdim=True)
    spreads = centred.detach().square().mean(dim=1) > _CONSTANT**2
    return directions.unit(centred, dim=1), spreads
