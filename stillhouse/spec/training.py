"""How a student is trained. Every field takes "auto"; `core.resolve` documents what it becomes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from stillhouse.spec.base import Auto, Frozen, Int, Number, later, not_available

LearningRate = Annotated[Number, Field(gt=0, le=100)]
Decay = Annotated[Number, Field(ge=0, le=10)]


class Sgd(Frozen):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    lr: LearningRate | Auto = "auto"
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Decay = 5e-4


class AdamW(Frozen):
    """AdamW: decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101)."""

    kind: Literal["adamw"]
    lr: LearningRate | Auto = "auto"
    betas: tuple[Annotated[Number, Field(ge=0, lt=1)], Annotated[Number, Field(ge=0, lt=1)]] = (
        0.9,
        0.999,
    )
    weight_decay: Decay = 0.05


Optimizer = Annotated[Sgd | AdamW, Field(discriminator="kind")]


class Schedule(Frozen):
    """The learning rate over the steps, as a share of `lr`."""

    kind: Literal["cosine", "one_cycle", "constant"] = "cosine"
    warmup_epochs: Annotated[Number, Field(ge=0, le=10_000)] = 0
    """Linear from 0 (cosine, constant). One-cycle has its own rise: 30 % of the steps."""


class Crop(Frozen):
    """Pad with zeros on all sides, then cut the original size out at random."""

    kind: Literal["crop"]
    padding: Annotated[Int, Field(ge=1, le=256)] = 4
    """Pixels."""


class Flip(Frozen):
    """Mirror left and right, for half of the items."""

    kind: Literal["flip"]


def _later_augment(value: Any) -> Any:
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind in ("mixup", "cutmix"):
        raise not_available(f"the augmentation '{kind}'", "take 'crop' or 'flip'")
    return value


Augment = Annotated[
    Annotated[Crop | Flip, Field(discriminator="kind")], BeforeValidator(_later_augment)
]
Views = Annotated[Int, Field(ge=1, le=10_000)] | Literal["auto", "fresh"]


class TrainingSpec(Frozen):
    """The recipe, the same for every arm and seed of a job."""

    epochs: Annotated[Int, Field(ge=1, le=10_000)] | Auto = "auto"
    batch_size: Annotated[Int, Field(ge=1, le=65_536)] | Auto = "auto"
    """Items per optimizer step."""
    optimizer: Optimizer | Auto = "auto"
    schedule: Schedule | Auto = "auto"
    augment: Annotated[tuple[Augment, ...], Field(max_length=8)] | Auto = ()
    views: Views = "auto"
    """How many views of an item exist: k, or one for each epoch ("fresh")."""
    view_seed: Annotated[Int, Field(ge=0, lt=2**31)] | Auto = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    deterministic: bool | Auto = False
    clip_norm: Annotated[Number, Field(gt=0, le=1e6)] | Auto | None = None
    """The gradient's greatest L2 norm; None leaves it alone."""

    accumulate: Annotated[Literal[1], later("accumulate", 1)] = 1
    ema: Annotated[None, later("ema", None)] = None
    early_stopping: Annotated[None, later("early_stopping", None)] = None
