from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss
from torch import Tensor

from worker.engine.proof import metrics


def _random(items: int, classes: int, *, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(items, classes, generator=generator)
    return logits, torch.randint(classes, (items,), generator=generator)


@pytest.mark.parametrize("seed", range(5))
def test_figures_agree_with_scikit_learn(seed: int) -> None:
    logits, labels = _random(200, 7, seed=seed)
    predicted, probabilities = logits.argmax(dim=1), logits.double().softmax(dim=1)
    found = metrics.score(logits, labels)
    assert found["accuracy"] == float((predicted == labels).double().mean())
    assert found["macro_f1"] == pytest.approx(
        f1_score(labels, predicted, average="macro", zero_division=0), abs=1e-12
    )
    assert found["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(labels, predicted), abs=1e-12
    )
    assert found["loss"] == pytest.approx(
        log_loss(labels, probabilities.numpy(), labels=range(7)), rel=1e-9
    )


def test_classes_that_never_occur_don_t_count() -> None:
    logits = torch.eye(6)[torch.tensor([0, 2, 2, 4])]
    labels = torch.tensor([0, 2, 0, 0])
    predicted = logits.argmax(dim=1)
    found = metrics.score(logits, labels)
    assert found["macro_f1"] == pytest.approx(
        f1_score(labels, predicted, average="macro", zero_division=0)
    )
    assert found["balanced_accuracy"] == pytest.approx((1 / 3 + 1) / 2)


def test_calibration_by_hand() -> None:
    # Two items at confidence 0.9, one right: |0.9 - 0.5|. One at 0.6, right: |0.6 - 1|.
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    found = metrics.score(probabilities.log(), torch.tensor([0, 1, 1]))
    assert found["ece"] == pytest.approx((2 * 0.4 + 1 * 0.4) / 3, abs=1e-6)
    squares = (2 * 0.1**2) + (2 * 0.9**2) + (2 * 0.4**2)
    assert found["brier"] == pytest.approx(squares / 3, abs=1e-6)


def test_certain_and_right_is_perfect() -> None:
    logits = 1e4 * torch.eye(4)
    assert metrics.score(logits, torch.arange(4)) == {
        "accuracy": 1, "balanced_accuracy": 1, "macro_f1": 1, "loss": 0, "ece": 0, "brier": 0,
    }  # fmt: skip


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_everything_is_finite_at_huge_logits(scale: float) -> None:
    logits, labels = _random(50, 5, seed=0)
    huge = scale * logits.sign()
    figures = [*metrics.score(huge, labels).values(), metrics.divergence(huge, -huge)]
    assert np.isfinite(figures).all()


def test_the_mean_of_the_items_losses_is_the_loss() -> None:
    logits, labels = _random(50, 5, seed=0)
    figures = metrics.score(logits, labels)
    assert metrics.losses(logits, labels).mean() == figures["loss"]
    assert metrics.correct(logits, labels).mean() == figures["accuracy"]


def test_divergence_is_from_the_teacher_to_the_student() -> None:
    teacher, student = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    expected = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    assert metrics.divergence(student, teacher) == pytest.approx(expected, rel=1e-6)
    assert metrics.divergence(teacher, teacher) == 0


def test_agreement_counts_equal_classes() -> None:
    ours = torch.tensor([[1.0, 0], [0, 1], [0, 1], [1, 0]])
    theirs = torch.tensor([[1.0, 0], [0, 1], [1, 0], [1, 0]])
    assert metrics.agreement(ours, theirs) == 0.75


def test_of_equal_logits_the_first_class_is_named() -> None:
    assert metrics.score(torch.zeros(2, 3), torch.tensor([0, 1]))["accuracy"] == 0.5
