"""The objectives, described from their own classes: schema, formula, source, needs, limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from stillhouse.spec.objective import (
    AttentionMaps,
    Contrastive,
    Correlation,
    Decoupled,
    FeatureHint,
    HardTargets,
    Labels,
    ObjectiveTerm,
    ParameterRatio,
    Relations,
    Review,
    Similarity,
    SoftTargets,
    VirtualTeacher,
)

Need = Literal[
    "labels",
    "teacher_logits",
    "teacher_class",
    "features",
    "index",
    "stage_maps",
    "teacher_weights",
]
"""What a term looks at. `features`: activations of student and teacher; `stage_maps`: features
with a height and a width; `index`: which row of the data an item is."""


@dataclass(frozen=True, slots=True)
class Method:
    """What a user wants to know before taking an objective."""

    spec: type[ObjectiveTerm]
    formula: str
    """For student logits s, teacher logits t, labels y, C classes, a batch of B; without weight."""
    source: str
    needs: frozenset[Need]
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The word that a spec names it by."""
        (kind,) = get_args(self.spec.model_fields["kind"].annotation)
        return str(kind)

    def describe(self) -> dict[str, Any]:
        """As `GET /v1/methods` answers it; limits are those of the default values."""
        term = self.spec.model_validate({"kind": self.kind})
        return {
            "object": "method",
            "kind": self.kind,
            "summary": (self.spec.__doc__ or "").splitlines()[0],
            "formula": self.formula,
            "source": self.source,
            "needs": sorted(self.needs),
            "min_classes": min_classes(term),
            "min_batch": min_batch(term),
            "batch_dependent": is_batch_dependent(term),
            "notes": list(self.notes),
            "schema": self.spec.model_json_schema(),
        }


def needs(term: ObjectiveTerm) -> frozenset[Need]:
    """What a term looks at besides the student's logits."""
    return next(method.needs for method in METHODS if isinstance(term, method.spec))


def min_classes(term: ObjectiveTerm) -> int:
    """With fewer classes than this, a term has nothing to teach."""
    match term:
        case Decoupled() | SoftTargets(standardize=True) | Correlation(intra=0):
            return 3
        case _:
            return 2


def min_batch(term: ObjectiveTerm) -> int:
    """With fewer items than this, a part of a term has nothing to compare and gives 0.

    Projectors normalise over the batch, so they too need a second item.
    """
    match term:
        case Relations():
            return 3
        case Correlation() if term.intra > 0:
            return 3
        case FeatureHint(projector="none"):
            return 1
        case Similarity() | FeatureHint() | Review():
            return 2
        case _:
            return 1


def is_batch_dependent(term: ObjectiveTerm) -> bool:
    """Whether an item's share depends on the batch's other items.

    The mean over parts of a batch isn't the value of the whole then: accumulating gradients
    over parts is another objective.
    """
    match term:
        case Similarity() | Relations():
            return True
        case Correlation():
            return term.intra > 0
        case Labels():
            return term.class_weights is not None
        case _:
            return False


_NOT_ADDITIVE = "Compares the batch's items: accumulation is not equivalent to a larger batch."
_CRD = "CIFAR-100, CRD benchmark, points over the student alone: "

METHODS = (
    Method(
        spec=Labels,
        formula="mean over the labelled items of -sum_c q_c log softmax(s)_c; "
        "q one-hot, smoothed by e/C",
        source="Cross-entropy; label smoothing: Szegedy et al. 2016, arXiv:1512.00567",
        needs=frozenset({"labels"}),
        notes=(
            "The control `no_teacher` is this term at weight 1.",
            "With class_weights the mean is weighted: accumulation is not equivalent.",
        ),
    ),
    Method(
        spec=SoftTargets,
        formula="T^2 * mean over the batch of KL(softmax(t/T) || softmax(s/T))",
        source="Hinton, Vinyals & Dean 2015, arXiv:1503.02531; "
        "standardize: Sun et al. 2024, arXiv:2403.01427",
        needs=frozenset({"teacher_logits"}),
        notes=(
            "T^2 stands on every path, so that the gradient's scale doesn't depend on T.",
            "standardize needs three classes or more: with two its gradient vanishes.",
            _CRD + "+1.69 (7 pairs of one family), +3.25 (6 pairs across families).",
        ),
    ),
    Method(
        spec=Decoupled,
        formula="T^2 * mean over the labelled items of alpha KL(b_t || b_s) + beta KL(o_t || o_s); "
        "b = (p_y, 1 - p_y), o = softmax over the classes other than y, both at s/T and t/T",
        source="Zhao et al. 2022, arXiv:2203.08679",
        needs=frozenset({"labels", "teacher_logits"}),
        notes=(
            "Needs three classes or more: with two there is nothing among the others.",
            "Of two blended items it takes the label of the larger share.",
            _CRD + "+3.12 (7 pairs of one family).",
        ),
    ),
    Method(
        spec=Correlation,
        formula="T^2 * (inter * (1 - mean over items of r(p_s, p_t)) "
        "+ intra * (1 - mean over classes of r(p_s, p_t) along the batch)); "
        "p = softmax(./T), r = Pearson's correlation",
        source="Huang et al. 2022, arXiv:2205.10536",
        needs=frozenset({"teacher_logits"}),
        notes=(
            "Two points always correlate: two classes have no inter part, two items no intra part.",
            _NOT_ADDITIVE,
            _CRD + "+2.88 (7 pairs of one family), +4.83 (6 pairs across families).",
        ),
    ),
    Method(
        spec=HardTargets,
        formula="mean over the batch of -sum_c q_c log softmax(s)_c; q one-hot at argmax t, "
        "smoothed by e/C",
        source="Touvron et al. 2021 (DeiT), arXiv:2012.12877",
        needs=frozenset({"teacher_class"}),
        notes=("For teachers of whom only the answer is known.",),
    ),
    Method(
        spec=VirtualTeacher,
        formula="T^2 * mean over the labelled items of KL(softmax(log(v)/T) || softmax(s/T)); "
        "v_y = correct, else (1 - correct)/(C - 1)",
        source="Yuan et al. 2020 (Tf-KD_reg), arXiv:1909.11723",
        needs=frozenset({"labels"}),
        notes=(
            "Needs no teacher; a regulariser in the manner of label smoothing.",
            "The paper's equation; its code takes v for logits, s at T = 1, and divides by C.",
        ),
    ),
    Method(
        spec=FeatureHint,
        formula="mse: mean over all elements of (P(f_s) - f_t)^2; "
        "cosine: mean over items and positions of 1 - cos(P(f_s), f_t)",
        source="Romero et al. 2015 (FitNets), arXiv:1412.6550; "
        "linear projector with batch normalisation: Miles & Mikolajczyk 2024, arXiv:2303.11098",
        needs=frozenset({"features"}),
        notes=(
            "Trained beside the other terms, not in a stage before them as in the paper.",
            _CRD + "+0.32 (7 pairs of one family), +1.08 (6 pairs across families).",
        ),
    ),
    Method(
        spec=AttentionMaps,
        formula="sum over layers of mean over items and positions of (a_s - a_t)^2; "
        "a = v/|v|, v = sum over channels of f^2",
        source="Zagoruyko & Komodakis 2017, arXiv:1612.03928",
        needs=frozenset({"features"}),
        notes=(
            "Weight 1000 goes with the authors' code: mean squares, where the paper has norms.",
            "Needs positions: a vector's map is constant.",
            _CRD + "+1.06 (7 pairs of one family), but -0.80 (6 pairs across families).",
        ),
    ),
    Method(
        spec=Similarity,
        formula="|G_s - G_t|^2 / B^2; G = F F' with each row over its norm, F the batch's features",
        source="Tung & Mori 2019, arXiv:1907.09682",
        needs=frozenset({"features"}),
        notes=(
            "Needs neither a projector nor equal widths; a batch of one is always similar.",
            _NOT_ADDITIVE,
            _CRD + "+0.99 (7 pairs of one family), +2.98 (6 pairs across families); "
            "below the student alone on none of the 13.",
        ),
    ),
    Method(
        spec=Relations,
        formula="distance * mean of huber(d_s, d_t) + angle * mean of huber(cos_s, cos_t); "
        "d = distances of pairs over their mean, cos = of the angle at each item of three",
        source="Park et al. 2019 (RKD), arXiv:1904.05068",
        needs=frozenset({"features"}),
        notes=(
            "Needs three items: of two, the distance is the mean and there is no angle.",
            _NOT_ADDITIVE,
            _CRD + "+0.32 (7 pairs of one family), +0.96 (6 pairs across families); "
            "below the student alone on 3 of the 13.",
        ),
    ),
    Method(
        spec=Contrastive,
        formula="mean over items of -log h(positive) - sum over K negatives of log(1 - h), student "
        "against the teacher's memory and vice versa; h = sigmoid(e.m/tau - log Z - log K)",
        source="Tian, Krishnan & Isola 2020 (CRD), arXiv:1910.10699",
        needs=frozenset({"labels", "features", "index"}),
        notes=(
            "Z, the mean of exp(e.m/tau) over the first batch, as in the authors' code.",
            "The memory changes with each forward: parts of an accumulated batch see later states.",
            _CRD + "+2.54 (7 pairs of one family), +4.59 (6 pairs across families).",
        ),
    ),
    Method(
        spec=Review,
        formula="sum over stages of sum_k w_k mse(pool_k(f_s), pool_k(f_t)) / sum_k w_k; "
        "f_s fused with the later stages; pool_k: as it is, to 4x4, 2x2, 1x1; w = 1, 1/2, 1/4, 1/8",
        source="Chen et al. 2021 (ReviewKD), arXiv:2104.09044",
        needs=frozenset({"features", "stage_maps"}),
        notes=(
            "For convolutional networks.",
            "ImageNet, ResNet-34 to ResNet-18: 71.61 published, 71.64 replicated by torchdistill.",
        ),
    ),
    Method(
        spec=ParameterRatio,
        formula="1/2 sum (theta_s - P theta_t / ratio)^2 over the selected parameters",
        source="ratio 1: Li, Grandvalet & Davoine 2018 (L2-SP), arXiv:1802.01483; "
        "selection: Xu et al. 2023, arXiv:2311.18823",
        needs=frozenset({"teacher_weights"}),
        notes=(
            "A sum, comparable with weight decay, which it equals as the ratio grows.",
            "Networks trained apart differ by a permutation: start the student from the teacher.",
        ),
    ),
)
