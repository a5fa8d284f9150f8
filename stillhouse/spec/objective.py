"""What a student is trained to do: a sum of terms, each with a weight."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from stillhouse.spec.base import Frozen, Number, later, not_available

Weight = Annotated[Number, Field(ge=0, le=1e6)]


class Labels(Frozen):
    """Cross-entropy with the dataset's labels."""

    kind: Literal["labels"]
    weight: Weight = 1.0
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """The share of the target spread evenly over all classes."""
    class_weights: Annotated[None, later("class_weights", None)] = None


class SoftTargets(Frozen):
    """Match the teacher's softened class distribution (Hinton, Vinyals & Dean 2015)."""

    kind: Literal["soft_targets"]
    weight: Weight = 1.0
    temperature: Annotated[Number, Field(gt=0, le=1000)] = 4.0
    """T, unitless; 1 leaves the distributions as they are."""
    standardize: bool = False
    """Z-score both sides' logits first (Sun et al. 2024); needs three classes or more."""


LATER_KINDS = frozenset({
    "decoupled", "correlation", "hard_targets", "feature_hint", "attention_maps",
    "similarity", "relations", "contrastive", "review", "parameter_ratio",
})  # fmt: skip


def _later(value: Any) -> Any:
    kind = value.get("kind") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind in LATER_KINDS:
        raise not_available(f"the objective '{kind}'", "take 'labels' or 'soft_targets'")
    return value


ObjectiveTerm = Annotated[
    Annotated[Labels | SoftTargets, Field(discriminator="kind")], BeforeValidator(_later)
]
