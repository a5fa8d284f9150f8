"""How a job's students are trained, with every "auto" gone from the types as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

from stillhouse.spec import (
    AdamW,
    AnyInput,
    Augment,
    EarlyStopping,
    Ema,
    Muon,
    NetworkSpec,
    ResolvedJob,
    Schedule,
    Sgd,
    StudentSpec,
)

_Value = TypeVar("_Value")
_UNSETTLED = "the specification still says 'auto'; resolve it first"


@dataclass(frozen=True, slots=True)
class Recipe:
    """The same for every student, arm and seed of a job."""

    epochs: int
    batch_size: int
    optimizer: Sgd | AdamW | Muon
    lr: float
    """The peak; the schedule gives each step its share of it."""
    schedule: Schedule
    augment: tuple[Augment, ...]
    views: int | Literal["fresh"]
    view_seed: int
    precision: Literal["auto", "fp32", "bf16"]
    deterministic: bool
    clip_norm: float | None
    metric: str
    """What chooses the epoch on the validation part, without its prefix: `accuracy`."""
    accumulate: int = 1
    """Micro-batches of a step."""
    ema: Ema | None = None
    early_stopping: EarlyStopping | None = None
    balance: bool = False
    """Whether the terms are scaled by the first batch's gradients."""


def of_job(spec: ResolvedJob) -> Recipe:
    """The recipe of a resolved job.

    Args:
        spec: With nothing left on "auto" but `precision`.

    Returns:
        The recipe.

    Raises:
        ValueError: Something else is still "auto".
    """
    training = spec.training
    optimizer = training.optimizer
    if isinstance(optimizer, str):
        raise ValueError(_UNSETTLED)  # noqa: TRY004 - the type is right, the value too early
    return Recipe(
        epochs=_settled(training.epochs),
        batch_size=_settled(training.batch_size),
        optimizer=optimizer,
        lr=_settled(optimizer.lr),
        schedule=_settled(training.schedule),
        augment=_settled(training.augment),
        views=_settled(training.views),
        view_seed=_settled(training.view_seed),
        precision=training.precision,
        deterministic=_settled(training.deterministic),
        clip_norm=_settled(training.clip_norm),
        metric=spec.select.removeprefix("validation_"),
        accumulate=_settled(training.accumulate),
        ema=_settled(training.ema),
        early_stopping=_settled(training.early_stopping),
        balance=training.balance,
    )


def fed(student: StudentSpec) -> AnyInput:
    """What a student of a resolved job is fed.

    Args:
        student: The student.

    Returns:
        Its input.

    Raises:
        ValueError: It has none; resolving gives it the dataset's.
    """
    if student.input is None:
        raise ValueError(f"the resolved job gives the student '{student.name}' no input")
    return student.input


def network(student: StudentSpec) -> NetworkSpec:
    """A student's architecture.

    Args:
        student: The student.

    Returns:
        Its network.

    Raises:
        ValueError: It has none; the prepare run makes one of `shrink`.
    """
    if student.network is None:
        raise ValueError(f"the network of the student '{student.name}' isn't known yet")
    return student.network


def _settled(value: _Value | Literal["auto"]) -> _Value:
    if value == "auto":
        raise ValueError(_UNSETTLED)
    return value
