"""An objective's terms as one loss with named shares: what is logged is what was summed."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import Labels, ObjectiveTerm, SoftTargets, methods
from worker.engine import seeds, terms
from worker.engine.batch import Batch
from worker.engine.terms import Setting, Term

NO_TEACHER = "no_teacher"
Terms = tuple[ObjectiveTerm, ...]
_OF_TEACHER = frozenset(
    {"teacher_logits", "teacher_class", "features", "stage_maps", "teacher_weights"}
)
_OUTPUTS = frozenset({"teacher_logits", "teacher_class", "features", "stage_maps"})


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
    smoothing and class weights.
    """
    if arm != NO_TEACHER:
        return terms
    given = next((term for term in terms if isinstance(term, Labels)), Labels(kind="labels"))
    return (given.model_copy(update={"weight": 1.0}),)


def needs_teacher(terms: Terms) -> bool:
    """Whether any term looks at a teacher: its outputs, its activations or its weights."""
    return any(methods.needs(term) & _OF_TEACHER for term in terms if term.weight > 0)


def needs_outputs(terms: Terms) -> bool:
    """Whether a teacher must be run for any term; its weights alone are read without that."""
    return any(methods.needs(term) & _OUTPUTS for term in terms if term.weight > 0)


def check(terms: Terms, *, classes: int, batch_size: int | None = None) -> None:
    """Refuse terms that have nothing to teach with so many classes, or so small batches.

    Args:
        terms: The job's objective.
        classes: The dataset's number of classes.
        batch_size: Of the largest batch that a term sees; None: don't look at it.

    Raises:
        InputRejected: `needs_three_classes` or `batch_too_small`.
    """
    for place, term in enumerate(terms):
        if term.weight == 0:
            continue
        least = methods.min_classes(term)
        if classes < least:
            standardizes = isinstance(term, SoftTargets) and term.standardize
            name = "standardize" if standardizes else "kind"
            remedy = "set 'standardize' to false" if standardizes else "take another objective"
            raise InputRejected(
                "needs_three_classes",
                f"'{name if standardizes else term.kind}' needs {least} classes, the dataset has "
                f"{classes}: of fewer, nothing is left to learn; {remedy}.",
                field=f"objective.{place}.{name}",
            )
        if batch_size is not None and batch_size < methods.min_batch(term):
            raise InputRejected(
                "batch_too_small",
                f"'{term.kind}' compares a batch's items and needs {methods.min_batch(term)}, "
                f"but no batch has more than {batch_size}; raise 'batch_size', or lower "
                "'accumulate'.",
                field=f"objective.{place}.kind",
            )


class Objective(nn.Module):
    """The weighted sum of an arm's terms, with what the terms learn themselves.

    Projectors and memory banks are modules and buffers of this one: they train with the student,
    are kept in its checkpoints, and are no part of what is served.
    """

    scales: Tensor
    """(terms,) float32: ones, or what `balance` found."""

    def __init__(self, specs: Terms, modules: Iterable[Term]) -> None:
        super().__init__()
        self.specs = specs
        self.parts = tuple(modules)
        self.terms = nn.ModuleList(self.parts)
        self.register_buffer("scales", torch.ones(len(specs)))

    @property
    def student_layers(self) -> tuple[str, ...]:
        """What must be captured of the student."""
        return self._layers("student_layers")

    @property
    def teacher_layers(self) -> tuple[str, ...]:
        """What must be captured of the first teacher."""
        return self._layers("teacher_layers")

    def forward(self, batch: Batch) -> Loss:
        """The total and its shares."""
        shares: dict[str, Tensor] = {}
        values = zip(self.specs, self.values(batch), self.scales, strict=True)
        for spec, value, scale in values:
            weighted = spec.weight * scale * value
            name = f"loss.{spec.kind}"
            shares[name] = shares[name] + weighted if name in shares else weighted
        # Added one by one, which is fewer kernels than a stack of the usual two or three.
        total = functools.reduce(torch.add, shares.values())
        return Loss(total=total, shares={name: share.detach() for name, share in shares.items()})

    def values(self, batch: Batch) -> list[Tensor]:
        """Each term's value, without weight; 0 where a batch has too few items for a term."""
        items = len(batch.logits)
        return [
            term(batch) if items >= term.min_items else batch.logits.sum() * 0
            for term in self.parts
        ]

    def balance(self, batch: Batch, parameters: Iterable[nn.Parameter]) -> dict[str, float]:
        """Scale the terms so that all begin with a gradient as large as the first one's.

        With it a term's weight is its share of the first step. A term whose gradient is 0 on this
        batch, and all terms if the first one's is, keep the scale 1. The scales are kept in
        checkpoints.

        Args:
            batch: The first one; its graph is kept.
            parameters: The student's.

        Returns:
            `scale.<place>.<kind>` -> the factor.
        """
        learned = [parameter for parameter in parameters if parameter.requires_grad]
        norms = torch.stack([_measure(value, learned) for value in self.values(batch)])
        usable = (norms > 0) & norms.isfinite() & (norms[0] > 0) & norms[0].isfinite()
        ratios = norms[0] / torch.where(usable, norms, torch.ones_like(norms))
        self.scales.copy_(torch.where(usable, ratios, torch.ones_like(ratios)))
        names = [f"scale.{place}.{spec.kind}" for place, spec in enumerate(self.specs)]
        return dict(zip(names, self.scales.tolist(), strict=True))

    def _layers(self, side: str) -> tuple[str, ...]:
        found = [name for term in self.parts for name in getattr(term, side)]
        return tuple(dict.fromkeys(found))


def _measure(value: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """The norm of a value's gradient."""
    if not value.requires_grad:
        return torch.zeros((), device=value.device)
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    norms = [gradient.norm() for gradient in gradients if gradient is not None]
    return torch.stack(norms).norm() if norms else torch.zeros((), device=value.device)


def build(specs: Terms, setting: Setting, *, field: str = "objective") -> Objective:
    """Make every term that has a weight, and refuse what doesn't fit before anything is spent.

    The refusals are those of `terms.make`. Layers are measured by one forward of blank items
    in eval mode; torch's generators are left as they were.

    Args:
        specs: An arm's terms, in the job's order.
        setting: The run.
        field: Where the objective stands in the job's specification.

    Returns:
        The objective, on the device of the setting's labels; its weights depend on the run's
        seed alone.
    """
    chosen = [(place, spec) for place, spec in enumerate(specs) if spec.weight > 0]
    device = setting.labels.device
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seeds.derive(setting.seed, "objective"))
        made = [terms.make(spec, setting, field=f"{field}.{place}") for place, spec in chosen]
    return Objective(tuple(spec for _, spec in chosen), made).to(device)
