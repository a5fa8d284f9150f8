from __future__ import annotations

import pytest
import torch

from tests.worker.engine.losses.cases import draw
from worker.engine.losses import hard_targets, labels


def test_it_is_the_cross_entropy_with_the_teachers_answers() -> None:
    student = draw((3, 4), 0)
    teacher = torch.tensor([[0.0, 9, 1, 2], [5, 4, 3, 4.9], [0, 0, 0, 0.1]])
    loss = hard_targets.loss(student, teacher, label_smoothing=0.2)
    same = labels.loss(student, torch.tensor([1, 0, 3]), label_smoothing=0.2)
    assert loss.item() == pytest.approx(same.item())


def test_how_sure_the_teacher_is_makes_no_difference() -> None:
    student, teacher = draw((3, 4), 0), draw((3, 4), 1)
    plain = hard_targets.loss(student, teacher)
    assert hard_targets.loss(student, teacher * 1e-3).item() == plain.item()
