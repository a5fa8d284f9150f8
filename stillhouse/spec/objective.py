"""What a student is trained to do: a sum of terms, each with a weight.

Defaults are the published ones; `methods` names their sources.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from stillhouse.spec.base import Auto, Frozen, Int, Number

Weight = Annotated[Number, Field(ge=0, le=1e6)]
Temperature = Annotated[Number, Field(gt=0, le=1000)]
Smoothing = Annotated[Number, Field(ge=0, lt=1)]
LayerName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class LayerPair(Frozen):
    """A layer of the student and the teacher's layer that it is held against.

    Names are those of the networks' modules; what a module puts out is compared.
    """

    student: LayerName
    teacher: LayerName


class Labels(Frozen):
    """Cross-entropy with the dataset's labels."""

    kind: Literal["labels"]
    weight: Weight = 1.0
    label_smoothing: Smoothing = 0.0
    """The share of the target spread evenly over all classes."""
    class_weights: (
        Annotated[tuple[Annotated[Number, Field(ge=0, le=1e6)], ...], Field(max_length=100_000)]
        | Literal["balanced"]
        | None
    ) = None
    """A weight for each class, in order; "balanced": rows / (classes * rows of the class)."""


class SoftTargets(Frozen):
    """Match the teacher's softened class distribution (Hinton, Vinyals & Dean 2015)."""

    kind: Literal["soft_targets"]
    weight: Weight = 1.0
    temperature: Temperature = 4.0
    """T, unitless; 1 leaves the distributions as they are."""
    standardize: bool = False
    """Z-score both sides' logits first (Sun et al. 2024); needs three classes or more."""


class Decoupled(Frozen):
    """The teacher's distribution in two parts: the label's class, and all others (DKD)."""

    kind: Literal["decoupled"]
    weight: Weight = 1.0
    temperature: Temperature = 4.0
    alpha: Weight = 1.0
    """Weight of the label's class against all others."""
    beta: Weight = 8.0
    """Weight of the distribution among the others."""


class Correlation(Frozen):
    """Correlate with the teacher's probabilities, over classes and over the batch (DIST)."""

    kind: Literal["correlation"]
    weight: Weight = 1.0
    temperature: Temperature = 1.0
    inter: Weight = 1.0
    """Weight of the correlation over an item's classes."""
    intra: Weight = 1.0
    """Weight of the correlation over the batch, class by class."""


class HardTargets(Frozen):
    """Cross-entropy with the class that the teacher names (DeiT)."""

    kind: Literal["hard_targets"]
    weight: Weight = 1.0
    label_smoothing: Smoothing = 0.0


class VirtualTeacher(Frozen):
    """Soft targets of a teacher that is only imagined: right with one probability, else even."""

    kind: Literal["virtual_teacher"]
    weight: Weight = 1.0
    correct: Annotated[Number, Field(gt=0, lt=1)] = 0.99
    """The probability that it gives to the label's class."""
    temperature: Temperature = 20.0


class FeatureHint(Frozen):
    """Come near one of the teacher's activations, through a projector (FitNets)."""

    kind: Literal["feature_hint"]
    weight: Weight = 100.0
    layer: LayerPair | Auto = "auto"
    distance: Literal["mse", "cosine"] = "mse"
    projector: Literal["linear", "none"] = "linear"
    """A linear map (1x1 convolution for maps) with batch normalisation, thrown away later."""


class AttentionMaps(Frozen):
    """Look where the teacher looks: normalised sums of squared activations (AT)."""

    kind: Literal["attention_maps"]
    weight: Weight = 1000.0
    layers: Annotated[tuple[LayerPair, ...], Field(min_length=1, max_length=16)] | Auto = "auto"


class Similarity(Frozen):
    """Find the same items of a batch alike (similarity-preserving distillation, SP)."""

    kind: Literal["similarity"]
    weight: Weight = 3000.0
    layer: LayerPair | Auto = "auto"


class Relations(Frozen):
    """Keep distances and angles between a batch's items (relational distillation, RKD)."""

    kind: Literal["relations"]
    weight: Weight = 1.0
    layer: LayerPair | Auto = "auto"
    distance: Weight = 25.0
    angle: Weight = 50.0


class Contrastive(Frozen):
    """Tell the teacher's view of an item from its views of other classes' items (CRD)."""

    kind: Literal["contrastive"]
    weight: Weight = 0.8
    layer: LayerPair | Auto = "auto"
    dimensions: Annotated[Int, Field(ge=2, le=4096)] = 128
    """Of the space that both sides are projected into."""
    negatives: Annotated[Int, Field(ge=1, le=1_000_000)] = 16384
    """Items of other classes for each item; fewer where the data has fewer."""
    temperature: Temperature = 0.07
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.5
    """Of the memory bank."""


class Review(Frozen):
    """Teach each stage by the teacher's earlier stages as well (ReviewKD)."""

    kind: Literal["review"]
    weight: Weight = 1.0
    layers: Annotated[tuple[LayerPair, ...], Field(min_length=2, max_length=8)] | Auto = "auto"
    """From the first stage to the last."""


LayersChoice = Literal["first", "even"]
Ratio = Annotated[Number, Field(gt=0, le=1e6)]
Patterns = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=256)], ...],
    Field(max_length=256),
]


class ParameterRatio(Frozen):
    """Stay near the teacher's selected weights divided by a ratio: 1/2 w sum (s - P t / r)^2."""

    kind: Literal["parameter_ratio"]
    weight: Weight = 0.01
    """Comparable with a weight decay: a sum, never a mean."""
    ratio: Ratio = 1.0
    """Lambda: how many times larger the teacher's parameters are held to be; 1 is L2-SP."""
    layers: LayersChoice = "first"
    """Which of a deeper teacher's blocks stand for the student's."""
    exclude: Patterns = ()
    """Student tensors (shell patterns) that are left free."""


ObjectiveTerm = Annotated[
    Labels
    | SoftTargets
    | Decoupled
    | Correlation
    | HardTargets
    | VirtualTeacher
    | FeatureHint
    | AttentionMaps
    | Similarity
    | Relations
    | Contrastive
    | Review
    | ParameterRatio,
    Field(discriminator="kind"),
]
