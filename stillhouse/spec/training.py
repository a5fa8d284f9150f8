"""How a student is trained. Every field takes "auto"; `core.resolve` documents what it becomes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stillhouse.spec.base import Auto, Frozen, Int, Number

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


class Muon(Frozen):
    """Muon for matrices and convolutions, AdamW for the rest (Jordan et al. 2024)."""

    kind: Literal["muon"]
    lr: LearningRate | Auto = "auto"
    """Of the orthogonalised updates."""
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.95
    weight_decay: Decay = 0.01


Optimizer = Annotated[Sgd | AdamW | Muon, Field(discriminator="kind")]


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


class Mixup(Frozen):
    """Blend two items and their labels (Zhang et al. 2018); the teacher sees the blend."""

    kind: Literal["mixup"]
    alpha: Annotated[Number, Field(gt=0, le=100)] = 0.2
    """Of the Beta(alpha, alpha) that the share is drawn from."""


class CutMix(Frozen):
    """Paste a box of another item in, and blend the labels by its area (Yun et al. 2019)."""

    kind: Literal["cutmix"]
    alpha: Annotated[Number, Field(gt=0, le=100)] = 1.0


Augment = Annotated[Crop | Flip | Mixup | CutMix, Field(discriminator="kind")]
Views = Annotated[Int, Field(ge=1, le=10_000)] | Literal["auto", "fresh"]


class Ema(Frozen):
    """An exponential moving average of the weights is validated and served in their place."""

    decay: Annotated[Number, Field(gt=0, lt=1)] = 0.999
    """Per step; early steps use min(decay, (1 + step) / (10 + step))."""


class EarlyStopping(Frozen):
    """End when the selected metric stands still on validation."""

    patience: Annotated[Int, Field(ge=1, le=10_000)] = 5
    """Epochs without a better one."""
    min_delta: Annotated[Number, Field(ge=0, le=1e6)] = 0.0
    """What counts as better, in the metric's unit."""


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
    accumulate: Annotated[Int, Field(ge=1, le=1024)] | Auto = 1
    """Forward passes that a batch is cut into; the step still sees `batch_size` items."""
    ema: Ema | Auto | None = None
    early_stopping: EarlyStopping | Auto | None = None
    balance: bool = False
    """Scale the terms once, so that each begins with a gradient as large as the first one's
    times its weight."""
