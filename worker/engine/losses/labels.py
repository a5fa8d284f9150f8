"""Cross-entropy with the dataset's labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engine.batch import Mix
from worker.engine.losses import precision, rows


def loss(
    student: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    mix: Mix | None = None,
) -> Tensor:
    """Mean cross-entropy over what is labelled.

    With class weights the mean is weighted by them, as in `torch.nn.functional.cross_entropy`: it
    is divided by the sum of the labels' weights, not by their number. A blended item counts as
    its two labels, each by its share: share · CE(a) + (1 - share) · CE(b) (mixup, Zhang et al.
    2018, arXiv:1710.09412).

    Args:
        student: Logits (batch, classes).
        labels: (batch,), from 0 to classes - 1; -1 where a row has none.
        label_smoothing: The share of the target spread evenly over all classes, in [0, 1)
            (Szegedy et al. 2016, arXiv:1512.00567).
        class_weights: (classes,), not negative, on the student's device.
        mix: The second item of each blend.

    Returns:
        A scalar in nats, in float32 at least; exactly 0 where nothing is labelled.
    """
    student = precision.widen(student)
    if class_weights is None and mix is None:  # The same in three kernels; most steps are this.
        total = F.cross_entropy(
            student,
            labels,
            ignore_index=rows.NO_LABEL,
            label_smoothing=label_smoothing,
            reduction="sum",
        )
        return total / (labels != rows.NO_LABEL).sum().clamp(min=1)
    classes = student.shape[1]
    weights = student.new_ones(classes) if class_weights is None else class_weights.to(student)
    value, count = student.new_zeros(()), student.new_zeros(())
    for target, share in _targets(labels, mix, like=student):
        each = F.cross_entropy(
            student,
            target,
            weight=weights,
            ignore_index=rows.NO_LABEL,
            label_smoothing=label_smoothing,
            reduction="none",
        )
        known = torch.where(target == rows.NO_LABEL, 0, weights[target.clamp(min=0)])
        value, count = value + (share * each).sum(), count + (share * known).sum()
    return rows.ratio(value, count)


def _targets(labels: Tensor, mix: Mix | None, *, like: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The labels of what a batch shows, and the share (batch,) of each."""
    if mix is None:
        return [(labels, like.new_ones(len(labels)))]
    share = mix.share.to(like)
    return [(labels, share), (mix.labels, 1 - share)]
