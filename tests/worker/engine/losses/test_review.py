from __future__ import annotations

import pytest
import torch.nn.functional as F

from tests.worker.engine.losses.cases import draw
from worker.engine.losses import review


def test_a_constant_difference_counts_the_same_at_all_levels() -> None:
    teacher = draw((2, 3, 8, 8), 0)
    assert review.loss([teacher + 3], [teacher]).item() == pytest.approx(9)


def test_coarser_levels_count_half_of_the_one_before() -> None:
    student, teacher = draw((2, 3, 6, 6), 0), draw((2, 3, 6, 6), 1)
    levels = [F.mse_loss(student, teacher)] + [
        F.mse_loss(F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size))
        for size in (4, 2, 1)
    ]
    weights = (1, 1 / 2, 1 / 4, 1 / 8)
    by_hand = sum(w * level for w, level in zip(weights, levels, strict=True)) / sum(weights)
    assert review.loss([student], [teacher]).item() == pytest.approx(float(by_hand))


def test_a_level_as_large_as_the_map_is_left_out() -> None:
    student, teacher = draw((1, 1, 2, 2), 0), draw((1, 1, 2, 2), 1)
    difference = student - teacher
    by_hand = (difference.square().mean() + difference.mean().square() / 2) / 1.5
    assert review.loss([student], [teacher]).item() == pytest.approx(by_hand.item())


def test_stages_are_added_up() -> None:
    pairs = [(draw((1, 1, size, size), 0), draw((1, 1, size, size), 1)) for size in (1, 4)]
    each = [review.loss([student], [teacher]).item() for student, teacher in pairs]
    both = review.loss([pair[0] for pair in pairs], [pair[1] for pair in pairs]).item()
    assert both == pytest.approx(sum(each))


def test_a_map_may_be_narrower_than_a_level() -> None:
    teacher = draw((1, 2, 5, 2), 0)
    assert review.loss([teacher + 3], [teacher]).item() == pytest.approx(9)


def test_stages_without_a_partner_are_an_error() -> None:
    teacher = draw((1, 2, 4, 4), 0)
    with pytest.raises(ValueError, match="longer"):
        review.loss([teacher], [teacher, teacher])
