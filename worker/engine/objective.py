"""An objective's terms as one loss with named shares: what is logged is what was summed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import Labels, ObjectiveTerm, SoftTargets
from worker.engine.batch import Batch
from worker.engine.losses import labels as labels_loss
from worker.engine.losses import soft_targets

NO_TEACHER = "no_teacher"
Terms = tuple[ObjectiveTerm, ...]


@dataclass(frozen=True, slots=True)
class Loss:
    """A batch's loss."""

    total: Tensor
    """Scalar, with its graph."""
    shares: dict[str, Tensor]
    """`loss.<kind>` -> its weighted part of the total, detached; they add up to it."""


def for_arm(terms: Terms, arm: str) -> Terms:
    """What an arm is trained to do.

    The control without a teacher learns from labels at weight 1, whatever their weight in the
    job: a tenth of a cross-entropy as the control would invent a gain. It keeps the job's label
    smoothing. Terms of weight 0 are dropped.
    """
    if arm == NO_TEACHER:
        smoothing = next((t.label_smoothing for t in terms if isinstance(t, Labels)), 0.0)
        return (Labels(kind="labels", weight=1.0, label_smoothing=smoothing),)
    return tuple(term for term in terms if term.weight > 0)


def needs_teacher(terms: Terms) -> bool:
    """Whether any term looks at the teacher's outputs."""
    return any(isinstance(term, SoftTargets) for term in terms)


def check(terms: Terms, *, classes: int) -> None:
    """Refuse terms that can't work with so many classes.

    Args:
        terms: The job's objective.
        classes: The dataset's number of classes.

    Raises:
        InputRejected: `needs_three_classes`.
    """
    for place, term in enumerate(terms):
        if isinstance(term, SoftTargets) and term.standardize and classes < 3:
            raise InputRejected(
                "needs_three_classes",
                f"'standardize' needs three classes, the dataset has {classes}: of two z-scored "
                "logits nothing is left to learn. Set 'standardize' to false.",
                field=f"objective.{place}.standardize",
            )


class Objective(nn.Module):
    """The weighted sum of an arm's terms, with what the terms learn themselves.

    Projectors and memory banks are modules and buffers of this one: they train with the student,
    are kept in its checkpoints, and are no part of what is served.
    """

    student_layers: tuple[str, ...] = ()
    """What must be captured of the student."""

    def __init__(self, terms: Terms) -> None:
        super().__init__()
        self.terms = terms

    def forward(self, batch: Batch) -> Loss:
        """The total and its shares."""
        shares: dict[str, Tensor] = {}
        for term in self.terms:
            value = term.weight * _term(term, batch)
            name = f"loss.{term.kind}"
            shares[name] = shares[name] + value if name in shares else value
        total = next(iter(shares.values()))
        for share in list(shares.values())[1:]:
            total = total + share
        return Loss(total=total, shares={name: share.detach() for name, share in shares.items()})


def _term(term: ObjectiveTerm, batch: Batch) -> Tensor:
    match term:
        case Labels():
            return labels_loss.loss(
                batch.logits, batch.shown.labels, label_smoothing=term.label_smoothing
            )
        case SoftTargets():
            if batch.teacher is None:
                raise ValueError("soft_targets needs the teacher's outputs")
            return soft_targets.loss(
                batch.logits,
                batch.teacher.logits,
                temperature=term.temperature,
                standardize=term.standardize,
            )
        case _:
            raise NotImplementedError(term.kind)
