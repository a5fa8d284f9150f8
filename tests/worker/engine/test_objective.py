from __future__ import annotations

import pytest
import torch
from torch import nn

from stillhouse.errors import InputRejected
from stillhouse.spec import Labels, SoftTargets
from worker.engine import objective
from worker.engine.batch import Batch, Shown, Told
from worker.engine.losses import labels as labels_loss
from worker.engine.losses import soft_targets

LABELS = Labels(kind="labels", weight=0.1, label_smoothing=0.2)
SOFT = SoftTargets(kind="soft_targets", weight=0.9, temperature=3)
STUDENT = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
TEACHER = torch.tensor([[3.0, 2.0, 0.5], [0.0, 2.0, 1.0]])
TARGET = torch.tensor([0, 2])
BATCH = Batch(
    Shown(torch.zeros(2, 1), torch.arange(2), TARGET), STUDENT, {}, nn.Identity(), Told(TEACHER)
)


def test_what_is_logged_is_what_was_summed() -> None:
    loss = objective.Objective((SOFT, LABELS))(BATCH)
    assert set(loss.shares) == {"loss.soft_targets", "loss.labels"}
    assert sum(loss.shares.values()) == pytest.approx(loss.total.item())
    soft = 0.9 * soft_targets.loss(STUDENT, TEACHER, temperature=3)
    hard = 0.1 * labels_loss.loss(STUDENT, TARGET, label_smoothing=0.2)
    assert loss.shares["loss.soft_targets"].item() == pytest.approx(soft.item())
    assert loss.shares["loss.labels"].item() == pytest.approx(hard.item())


def test_terms_of_one_kind_share_a_name() -> None:
    cold = SoftTargets(kind="soft_targets", weight=0.5, temperature=1)
    loss = objective.Objective((SOFT, cold))(BATCH)
    assert list(loss.shares) == ["loss.soft_targets"]
    both = sum(
        term.weight * soft_targets.loss(STUDENT, TEACHER, temperature=term.temperature)
        for term in (SOFT, cold)
    )
    assert loss.shares["loss.soft_targets"].item() == loss.total.item() == pytest.approx(both)


def test_the_control_learns_from_labels_at_weight_one_with_the_smoothing_of_the_job() -> None:
    assert objective.for_arm((SOFT, LABELS), "no_teacher") == (
        Labels(kind="labels", weight=1.0, label_smoothing=0.2),
    )
    assert objective.for_arm((SOFT,), "no_teacher") == (Labels(kind="labels", weight=1.0),)


def test_a_term_of_weight_zero_asks_nothing_of_the_teacher() -> None:
    none = SOFT.model_copy(update={"weight": 0.0})
    assert objective.for_arm((none, LABELS), "distilled") == (LABELS,)
    assert objective.needs_teacher((SOFT, LABELS))
    assert not objective.needs_teacher((LABELS,))


def test_standardizing_two_classes_is_refused() -> None:
    terms = (LABELS, SOFT.model_copy(update={"standardize": True}))
    objective.check(terms, classes=3)
    with pytest.raises(InputRejected) as refused:
        objective.check(terms, classes=2)
    assert refused.value.rejected_code == "needs_three_classes"
    assert refused.value.field == "objective.1.standardize"
