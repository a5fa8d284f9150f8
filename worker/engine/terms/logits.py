"""Terms of the logits, the labels and what the teacher says."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor

from stillhouse.errors import InputRejected
from stillhouse.spec import (
    Correlation,
    Decoupled,
    HardTargets,
    Labels,
    SoftTargets,
    VirtualTeacher,
)
from worker.engine.batch import Batch
from worker.engine.losses import (
    correlation,
    decoupled,
    hard_targets,
    soft_targets,
    virtual_teacher,
)
from worker.engine.losses import labels as labels_loss
from worker.engine.terms.setting import Setting
from worker.engine.terms.term import Term

OfLogits = Labels | SoftTargets | Decoupled | Correlation | HardTargets | VirtualTeacher


class LogitsTerm(Term):
    """A function of both sides' logits and the labels; it learns nothing."""

    class_weights: Tensor | None

    def __init__(self, spec: OfLogits, *, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.spec = spec
        # The data and the specification say it; a checkpoint need not.
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """The term's value for a batch."""
        shown, student = batch.shown, batch.logits
        match self.spec:
            case Labels() as spec:
                return labels_loss.loss(
                    student,
                    shown.labels,
                    label_smoothing=spec.label_smoothing,
                    class_weights=self.class_weights,
                    mix=shown.mix,
                )
            case SoftTargets() as spec:
                return soft_targets.loss(
                    student,
                    batch.told.logits,
                    temperature=spec.temperature,
                    standardize=spec.standardize,
                )
            case Decoupled() as spec:
                return decoupled.loss(
                    student,
                    batch.told.logits,
                    shown.dominant,
                    alpha=spec.alpha,
                    beta=spec.beta,
                    temperature=spec.temperature,
                )
            case Correlation() as spec:
                return correlation.loss(
                    student,
                    batch.told.logits,
                    inter=spec.inter,
                    intra=spec.intra,
                    temperature=spec.temperature,
                )
            case HardTargets() as spec:
                return hard_targets.loss(
                    student, batch.told.logits, label_smoothing=spec.label_smoothing
                )
            case VirtualTeacher() as spec:
                return virtual_teacher.loss(
                    student,
                    shown.dominant,
                    correct=spec.correct,
                    temperature=spec.temperature,
                )
            case _:
                assert_never(self.spec)


def make(spec: OfLogits, setting: Setting, *, field: str) -> LogitsTerm:
    """A term of the logits; for `labels` with its class weights."""
    weights = spec.class_weights if isinstance(spec, Labels) else None
    if weights is None:
        return LogitsTerm(spec)
    return LogitsTerm(spec, class_weights=_weigh(weights, setting, field=field))


def _weigh(weights: object, setting: Setting, *, field: str) -> Tensor:
    if weights == "balanced":
        return _balance(setting)
    given = torch.tensor(weights, dtype=torch.float32, device=setting.labels.device)
    if len(given) != setting.classes:
        raise InputRejected(
            "class_weights_length",
            f"'class_weights' has {len(given)} values, the dataset {setting.classes} classes; "
            "give one for each, in the dataset's order.",
            field=f"{field}.class_weights",
        )
    return given


def _balance(setting: Setting) -> Tensor:
    """Rows / (classes * rows of the class); 0 for a class without rows, which is no target."""
    labels = setting.labels[setting.labels >= 0]
    counts = torch.bincount(labels, minlength=setting.classes)
    weights = len(labels) / (setting.classes * counts.clamp(min=1).to(torch.float32))
    return torch.where(counts > 0, weights, torch.zeros_like(weights))
