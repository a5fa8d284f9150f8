"""Held against independent implementations where they are right, and shown apart where not.

torchdistill 1.1.5 and timm, as installed. A test named "but" shows what is wrong there.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.loss.cross_entropy import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor
from torchdistill.losses import mid_level

from tests.worker.engine.losses.cases import draw
from worker.engine.batch import Mix
from worker.engine.losses import (
    attention_maps,
    contrastive,
    correlation,
    decoupled,
    directions,
    labels,
    relations,
    review,
    similarity,
    soft_targets,
)

LABELS = torch.tensor([0, 4, 1, 3, 2, 2])
BOTH_SIDES = (".", "output", ".", "output")


@pytest.fixture
def student() -> Tensor:
    return draw((6, 5), 0).float()


@pytest.fixture
def teacher() -> Tensor:
    return draw((6, 5), 1).float()


def theirs(oracle: Any, student: Tensor, teacher: Tensor, *more: Any) -> Tensor:
    found: Tensor = oracle({".": {"output": student}}, {".": {"output": teacher}}, *more)
    return found


def agree(ours: Tensor, other: Tensor) -> bool:
    return ours.item() == pytest.approx(float(other), rel=1e-5, abs=1e-7)


def gradient(loss: Tensor, student: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, student)
    return found


# timm and torch


def test_smoothed_labels_are_timms(student: Tensor) -> None:
    oracle = LabelSmoothingCrossEntropy(smoothing=0.1)  # type: ignore[no-untyped-call]  # timm leaves it untyped
    assert agree(labels.loss(student, LABELS, label_smoothing=0.1), oracle(student, LABELS))


def test_blended_labels_are_timms_soft_targets(student: Tensor) -> None:
    share = torch.tensor([0.1, 0.4, 0.5, 0.8, 0.9, 1.0])
    first, second = F.one_hot(LABELS, 5), F.one_hot(LABELS.flip(0), 5)
    blended = share[:, None] * first + (1 - share[:, None]) * second
    oracle = SoftTargetCrossEntropy()(student, blended)  # type: ignore[no-untyped-call]  # timm leaves it untyped
    assert agree(labels.loss(student, LABELS, mix=Mix(LABELS.flip(0), share)), oracle)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weighted_and_masked_labels_are_torchs(student: Tensor, smoothing: float) -> None:
    weights, some = torch.tensor([0.5, 1, 2, 0, 4]), LABELS.clone()
    some[2] = -1
    oracle = F.cross_entropy(
        student, some, weight=weights, ignore_index=-1, label_smoothing=smoothing
    )
    ours = labels.loss(student, some, label_smoothing=smoothing, class_weights=weights)
    assert agree(ours, oracle)


def test_but_torchs_mean_of_no_labels_is_not_a_number(student: Tensor) -> None:
    none = torch.full((6,), -1)
    assert F.cross_entropy(student, none, ignore_index=-1).isnan()
    assert labels.loss(student, none).item() == 0


def test_but_torchs_default_mean_of_a_divergence_is_over_classes_too(
    student: Tensor, teacher: Tensor
) -> None:
    """A divergence is a sum over classes: a class that can't be doesn't halve it."""

    def default(student: Tensor, teacher: Tensor) -> float:
        with pytest.warns(UserWarning, match="batchmean"):
            return F.kl_div(student.log_softmax(1), teacher.softmax(1)).item()

    ours = soft_targets.loss(student, teacher, temperature=1).item()
    assert default(student, teacher) == pytest.approx(ours / 5, rel=1e-5)
    wider = [torch.cat([one, torch.full((6, 5), -1e6)], dim=1) for one in (student, teacher)]
    assert default(*wider) == pytest.approx(ours / 10, rel=1e-5)
    assert soft_targets.loss(*wider, temperature=1).item() == pytest.approx(ours, rel=1e-5)


# torchdistill, logits


def test_soft_targets_are_torchdistills(student: Tensor, teacher: Tensor) -> None:
    oracle = mid_level.KDLoss(*BOTH_SIDES, temperature=4.0, alpha=0.3, beta=0.6)
    soft = soft_targets.loss(student, teacher, temperature=4)
    ours = 0.3 * labels.loss(student, LABELS) + 0.6 * soft
    assert agree(ours, theirs(oracle, student, teacher, LABELS))


@pytest.mark.parametrize(("alpha", "targets"), [(0, LABELS), (0.5, None)])
def test_but_torchdistill_drops_the_square_of_the_temperature_without_labels(
    student: Tensor, teacher: Tensor, alpha: float, targets: Tensor | None
) -> None:
    """Hinton et al. 2015, section 2: gradients scale as 1/T², so T² belongs to the soft part."""
    student.requires_grad_()
    warm, hot = (
        gradient(
            theirs(mid_level.KDLoss(*BOTH_SIDES, temperature=t, alpha=alpha), student, teacher, targets),  # noqa: E501
            student,
        ).norm()
        for t in (50.0, 500.0)
    )  # fmt: skip
    assert hot / warm == pytest.approx(1 / 100, rel=0.1)
    warm, hot = (
        gradient(soft_targets.loss(student, teacher, temperature=t), student).norm()
        for t in (50.0, 500.0)
    )
    assert hot / warm == pytest.approx(1, rel=0.1)


def test_standardised_targets_are_torchdistills_but_for_the_deviation(
    student: Tensor, teacher: Tensor
) -> None:
    """The code divides by the sample's deviation, 1/(K-1), where the paper has 1/K.

    Every z-score is smaller by √((K-1)/K), which is a temperature larger by its inverse.
    """
    ratio = math.sqrt(5 / 4)
    oracle = mid_level.LogitStdKDLoss(*BOTH_SIDES, temperature=2.0, alpha=0.5, beta=1.0)
    soft = theirs(oracle, student, teacher, LABELS) - 0.5 * labels.loss(student, LABELS)
    ours = soft_targets.loss(student, teacher, temperature=2 * ratio, standardize=True)
    assert agree(ours / ratio**2, soft)


def test_correlations_are_torchdistills(student: Tensor, teacher: Tensor) -> None:
    oracle = mid_level.DISTLoss(*BOTH_SIDES, beta=2.0, gamma=3.0, tau=4.0)
    ours = correlation.loss(student, teacher, inter=2, intra=3, temperature=4)
    assert agree(ours, theirs(oracle, student, teacher))


def test_but_torchdistill_divides_a_constant_rows_gradient_by_almost_nothing(
    teacher: Tensor,
) -> None:
    """A student that says nothing yet is where training begins: no step may be 10⁶ long."""
    constant = torch.zeros(6, 5, requires_grad=True)
    oracle = theirs(mid_level.DISTLoss(*BOTH_SIDES), constant, teacher)
    assert gradient(oracle, constant).abs().max() > 1e6
    ours = correlation.loss(constant, teacher, inter=1, intra=1, temperature=1)
    assert gradient(ours, constant).abs().max() == 0


def test_decoupled_targets_are_the_papers(student: Tensor, teacher: Tensor) -> None:
    ours = decoupled.loss(student, teacher, LABELS, alpha=1, beta=8, temperature=4)
    assert agree(ours, _decoupled_in_probabilities(student, teacher))


def test_but_the_papers_probabilities_are_not_finite_at_large_logits() -> None:
    teacher = torch.tensor([[1e4, -1e4, 0.0, 5e3, -5e3]]).repeat(6, 1)
    assert not _decoupled_in_probabilities(-teacher, teacher).isfinite()
    loss = decoupled.loss(-teacher, teacher, LABELS, alpha=1, beta=8, temperature=4)
    assert loss.isfinite()
    assert loss > 1e3


def _decoupled_in_probabilities(student: Tensor, teacher: Tensor) -> Tensor:
    """Equations 1 to 7 of arXiv:2203.08679 as written, at T = 4, alpha = 1, beta = 8."""
    p, q = (teacher / 4).softmax(dim=1), (student / 4).softmax(dim=1)
    is_label = F.one_hot(LABELS, 5).bool()
    p_label, q_label = p[is_label], q[is_label]
    binary = (
        p_label * (p_label / q_label).log() + (1 - p_label) * ((1 - p_label) / (1 - q_label)).log()
    )
    p_others = p[~is_label].view(6, 4) / (1 - p_label)[:, None]
    q_others = q[~is_label].view(6, 4) / (1 - q_label)[:, None]
    others = (p_others * (p_others / q_others).log()).sum(dim=1)
    return 16 * (binary + 8 * others).mean()


# torchdistill, activations


def test_attention_maps_are_torchdistills() -> None:
    student, teacher = draw((4, 3, 5, 5), 0).float(), draw((4, 7, 5, 5), 1).float()
    side = {"io": "output", "path": "."}
    oracle = mid_level.ATLoss({"only": {"student": side, "teacher": side}}, mode="code")
    assert agree(attention_maps.loss([(student, teacher)]), theirs(oracle, student, teacher))


def test_similarities_are_the_papers_but_torchdistills_are_in_another_norm() -> None:
    """Equation 2 has rows over their L2 norm; there, `normalize(x, 1)` asks for p = 1."""
    student, teacher = draw((6, 4), 0).float(), draw((6, 9), 1).float()

    def distance(p: int) -> Tensor:
        ours, others = (F.normalize(one @ one.T, p=p, dim=1) for one in (student, teacher))
        return (ours - others).square().sum() / 36

    oracle = mid_level.SPKDLoss(".", ".", reduction="batchmean")
    assert agree(similarity.loss(student, teacher), distance(p=2))
    assert agree(theirs(oracle, student, teacher), distance(p=1))


def test_relations_are_torchdistills() -> None:
    student, teacher = draw((6, 4), 0).float(), draw((6, 9), 1).float()
    oracle = mid_level.RKDLoss(".", ".", dist_factor=25.0, angle_factor=50.0, reduction="mean")
    ours = relations.loss(student, teacher, distance=25, angle=50)
    assert agree(ours, theirs(oracle, student, teacher))


def test_but_torchdistills_relations_explode_where_two_items_coincide() -> None:
    """Two equal images, or one drawn twice, must not end a training: a direction has no slope."""
    points = draw((6, 4), 0).float()
    points[1] = points[0]
    student, teacher = points.requires_grad_(), draw((6, 9), 1).float()
    oracle = mid_level.RKDLoss(".", ".", dist_factor=25.0, angle_factor=50.0, reduction="mean")
    assert gradient(theirs(oracle, student, teacher), student).abs().max() > 1e8
    ours = relations.loss(student, teacher, distance=25, angle=50)
    assert gradient(ours, student).abs().max() < 1e3


def test_but_torchdistills_distances_cancel_far_from_the_origin() -> None:
    """Relations don't move when all points do; inner products of float32 lose their digits."""
    points = draw((6, 4), 0).float()
    oracle = mid_level.RKDLoss(".", ".", dist_factor=25.0, angle_factor=50.0, reduction="mean")
    assert theirs(oracle, points + 1000, points) > 1e-5
    assert relations.loss(points + 1000, points, distance=25, angle=50) < 1e-6


def test_hierarchical_contexts_are_torchdistills() -> None:
    student, teacher = draw((2, 3, 8, 8), 0).float(), draw((2, 3, 8, 8), 1).float()
    oracle = mid_level.HierarchicalContextLoss(*BOTH_SIDES, reduction="mean")
    found = oracle({".": {"output": (student, None)}}, {".": {"output": teacher}})
    assert agree(review.loss([student], [teacher]), found)


def _contrasts(rows: int, negatives: int) -> tuple[Any, dict[str, Tensor]]:
    """torchdistill's module with its alias tables replaced: its own can't be made for all sizes."""
    oracle = mid_level.CRDLoss.__new__(mid_level.CRDLoss)
    torch.nn.Module.__init__(oracle)
    memory = [directions.unit(draw((rows, 8), seed).float(), dim=1) for seed in (5, 6)]
    oracle.register_buffer("params", torch.tensor([negatives, 0.07, -1, -1, 0.5]))
    oracle.register_buffer("memory_v1", memory[0].clone())
    oracle.register_buffer("memory_v2", memory[1].clone())
    oracle.num_samples, oracle.eps = rows, 0.0
    return oracle, {"student": memory[0], "teacher": memory[1]}


def test_contrasts_are_torchdistills() -> None:
    anchors = [directions.unit(draw((4, 8), seed).float(), dim=1) for seed in (0, 1)]
    drawn = torch.randint(30, (4, 11), generator=torch.Generator().manual_seed(0))
    oracle, memory = _contrasts(rows=30, negatives=10)
    out_student, out_teacher = oracle.contrast_memory(*anchors, drawn[:, 0], drawn)
    for anchor, other, found in (
        (anchors[0], memory["teacher"], out_student),
        (anchors[1], memory["student"], out_teacher),
    ):
        given = (anchor, other[drawn[:, 0]], other[drawn[:, 1:]])
        log_mean = contrastive.log_mean(*given, temperature=0.07)
        ours = contrastive.loss(*given, temperature=0.07, log_mean=log_mean)
        assert agree(ours, oracle.compute_contrast_loss(found))


def test_but_torchdistill_can_not_draw_its_negatives() -> None:
    """Its tables are made under one name and read under another."""
    with pytest.raises(AttributeError, match="'prob'"):
        mid_level.CRDLoss(".", ".", ".", 8, 50, 10, 50).draw(4)
