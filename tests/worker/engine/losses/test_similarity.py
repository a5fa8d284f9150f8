from __future__ import annotations

import pytest
import torch

from tests.worker.engine.losses.cases import draw
from worker.engine.losses import similarity


def test_the_value_is_the_one_computed_by_hand() -> None:
    # F F' of the student is ((1, 0), (0, 1)), of the teacher ((1, 1), (1, 1)), rows over √2.
    student, teacher = torch.eye(2), torch.ones(2, 1)
    half = 0.5**0.5
    by_hand = ((1 - half) ** 2 + half**2 + half**2 + (1 - half) ** 2) / 4
    assert similarity.loss(student, teacher).item() == pytest.approx(by_hand)


def test_a_rotation_or_another_width_makes_no_difference() -> None:
    teacher = draw((6, 4), 0)
    rotation, _ = torch.linalg.qr(draw((8, 4), 1))
    assert similarity.loss(2 * teacher @ rotation.T, teacher).item() == pytest.approx(0, abs=1e-12)


def test_a_batch_of_one_is_always_similar() -> None:
    assert similarity.loss(draw((1, 4), 0), draw((1, 4), 1)).item() == pytest.approx(0, abs=1e-12)
