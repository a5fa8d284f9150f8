"""Every loss as a function of a student, a teacher and labels, and which truths hold for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from stillhouse.spec import ObjectiveTerm
from worker.engine.losses import (
    attention_maps,
    contrastive,
    correlation,
    decoupled,
    directions,
    feature_hint,
    hard_targets,
    labels,
    parameter_ratio,
    relations,
    review,
    similarity,
    soft_targets,
    virtual_teacher,
)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

ROWS = 6
LOGITS = (ROWS, 5)
MAPS = (ROWS, 3, 6, 6)
TRUTHS = {
    "zero when equal",
    "shift of logits",
    "order of classes",
    "order of items",
    "mean over items",
    "mean or batch-dependent",
    "more classes",
    "no gradient to teacher",
    "one item",
}


@dataclass(frozen=True)
class Case:
    """One loss at one setting."""

    term: ObjectiveTerm
    loss: Loss
    shape: tuple[int, ...] = LOGITS
    """Of both sides."""
    goal: str = "teacher"
    """What the student's largest logits come to be: the teacher's, or the labels; or "near"."""
    without: Mapping[str, str] = field(default_factory=dict)
    """Truth -> why it doesn't hold for this loss."""

    def __str__(self) -> str:
        changed = self.term.model_fields_set - {"kind", "weight"}
        return "-".join([self.term.kind, *sorted(f"{n}={getattr(self.term, n)}" for n in changed)])


def term(kind: str, **fields: Any) -> ObjectiveTerm:
    made: ObjectiveTerm = TypeAdapter(ObjectiveTerm).validate_python({"kind": kind, **fields})
    return made


def of(truth: str) -> list[Case]:
    """The cases for which a truth holds."""
    assert truth in TRUTHS
    return [case for case in CASES if truth not in case.without]


def draw(shape: tuple[int, ...], seed: int, *, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def sides(case: Case, rows: int = ROWS) -> tuple[Tensor, Tensor, Tensor]:
    """A student, a teacher, and labels that are neither's answer."""
    shape = (rows, *case.shape[1:])
    scale = 3.0 if case.shape == LOGITS else 1.0
    return draw(shape, 0, scale=scale), draw(shape, 1, scale=scale), torch.arange(rows) % 5


def gradient(case: Case, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    student = student.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(case.loss(student, teacher, target), student)
    return found


def _of_labels(label_smoothing: float = 0.0, class_weights: Tensor | None = None) -> Loss:
    return lambda s, _t, y: labels.loss(
        s, y, label_smoothing=label_smoothing, class_weights=class_weights
    )


def _of_embeddings(s: Tensor, t: Tensor, _y: Tensor) -> Tensor:
    """Three negatives each, from a fixed memory; log Z of another batch."""
    anchor, memory = directions.unit(s, dim=1), directions.unit(t, dim=1)
    negatives = directions.unit(draw((3, s.shape[1]), 7), dim=1).to(memory)
    return contrastive.loss(anchor, memory, negatives, temperature=0.2, log_mean=torch.tensor(0.5))


_LABELS = {
    "zero when equal": "the target is the label",
    "no gradient to teacher": "it has none",
}
_SMOOTHED = {"more classes": "smoothing gives the new classes a share"}
_FEATURES = {
    "shift of logits": "it sees no logits",
    "more classes": "it sees no classes",
}
_RELATIVE = {
    "mean over items": "every item is compared with all others",
    "one item": "it compares items",
}

CASES = [
    Case(term("labels"), _of_labels(), goal="labels", without=_LABELS),
    Case(
        term("labels", label_smoothing=0.1),
        _of_labels(label_smoothing=0.1),
        goal="labels",
        without=_LABELS | _SMOOTHED,
    ),
    Case(
        term("labels", class_weights=[1, 2, 3, 4, 5]),
        _of_labels(class_weights=torch.arange(1.0, 6)),
        goal="labels",
        without=_LABELS
        | {"order of classes": "the weights are of classes in order", "more classes": "likewise"},
    ),
    Case(
        term("soft_targets", temperature=2),
        lambda s, t, _y: soft_targets.loss(s, t, temperature=2),
    ),
    Case(
        term("soft_targets", temperature=2, standardize=True),
        lambda s, t, _y: soft_targets.loss(s, t, temperature=2, standardize=True),
        without={"more classes": "mean and deviation are over all classes"},
    ),
    Case(
        term("decoupled", temperature=2),
        lambda s, t, y: decoupled.loss(s, t, y, alpha=1, beta=8, temperature=2),
    ),
    Case(
        term("correlation", intra=0),
        lambda s, t, _y: correlation.loss(s, t, inter=1, intra=0, temperature=1),
        without={"more classes": "the mean is over all classes"},
    ),
    Case(
        term("correlation"),
        lambda s, t, _y: correlation.loss(s, t, inter=1, intra=1, temperature=1),
        without={
            "more classes": "the mean is over all classes",
            "one item": "the part over the batch is 0",
        },
    ),
    Case(
        term("hard_targets"),
        lambda s, t, _y: hard_targets.loss(s, t),
        without={"zero when equal": "a class is no distribution"},
    ),
    Case(
        term("virtual_teacher"),
        lambda s, _t, y: virtual_teacher.loss(s, y, correct=0.99, temperature=20),
        goal="labels",
        without=_LABELS | {"more classes": "the others share what isn't correct"},
    ),
    *(
        Case(
            term("feature_hint", distance=distance),
            lambda s, t, _y, d=distance: feature_hint.loss(s, t, distance=d),  # type: ignore[misc]  # the default binds the loop's value
            shape=MAPS,
            goal="near",
            without=_FEATURES,
        )
        for distance in ("mse", "cosine")
    ),
    Case(
        term("attention_maps"),
        lambda s, t, _y: attention_maps.loss([(s, t), (s[:, :2], t[:, :2])]),
        shape=MAPS,
        goal="near",
        without=_FEATURES | {"order of classes": "the second pair has a part of the channels"},
    ),
    Case(
        term("similarity"),
        lambda s, t, _y: similarity.loss(s, t),
        goal="near",
        without=_FEATURES | _RELATIVE,
    ),
    Case(
        term("relations"),
        lambda s, t, _y: relations.loss(s, t, distance=25, angle=50),
        goal="near",
        without=_FEATURES | _RELATIVE,
    ),
    Case(
        term("contrastive"),
        _of_embeddings,
        goal="near",
        without=_FEATURES
        | {
            "zero when equal": "negatives are told apart as well",
            "order of classes": "the memory is of dimensions in order",
        },
    ),
    Case(
        term("review"),
        lambda s, t, _y: review.loss([s, s[:, :, :3, :3]], [t, t[:, :, :3, :3]]),
        shape=MAPS,
        goal="near",
        without=_FEATURES,
    ),
    Case(
        term("parameter_ratio"),
        lambda s, t, _y: parameter_ratio.penalty([s, s[:1]], [t, t[:1]]),
        goal="near",
        without=_FEATURES
        | dict.fromkeys(
            ("order of items", "mean over items", "mean or batch-dependent", "one item"),
            "parameters aren't items",
        ),
    ),
]
