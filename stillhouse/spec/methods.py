"""The objectives, described from their own classes: schema, formula, source, needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stillhouse.spec.objective import Labels, SoftTargets


@dataclass(frozen=True, slots=True)
class Method:
    """What a user wants to know before taking an objective."""

    spec: type[Labels | SoftTargets]
    kind: str
    formula: str
    source: str
    needs: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """As `GET /v1/methods` answers it."""
        return {
            "object": "method",
            "kind": self.kind,
            "summary": (self.spec.__doc__ or "").splitlines()[0],
            "formula": self.formula,
            "source": self.source,
            "needs": list(self.needs),
            "notes": list(self.notes),
            "schema": self.spec.model_json_schema(),
        }


METHODS = (
    Method(
        spec=Labels,
        kind="labels",
        formula="mean over the batch of -sum_c q_c log softmax(s)_c; q one-hot, smoothed by e/C",
        source="Cross-entropy; label smoothing: Szegedy et al. 2016, arXiv:1512.00567",
        needs=("labels",),
        notes=("The control `no_teacher` is this term at weight 1.",),
    ),
    Method(
        spec=SoftTargets,
        kind="soft_targets",
        formula="T^2 * mean over the batch of KL(softmax(t/T) || softmax(s/T))",
        source="Hinton, Vinyals & Dean 2015, arXiv:1503.02531; "
        "standardize: Sun et al. 2024, arXiv:2403.01427",
        needs=("teacher logits",),
        notes=(
            "T^2 stands on every path, so that the gradient's scale doesn't depend on T.",
            "standardize needs three classes or more: with two its gradient vanishes.",
        ),
    ),
)
