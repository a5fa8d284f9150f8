from __future__ import annotations

import pytest
import torch
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


def test_levels_as_large_as_the_map_are_left_out_and_stages_added() -> None:
    small = torch.tensor([[[[1.0]]]]), torch.tensor([[[[3.0]]]])
    large = draw((1, 1, 4, 4), 0), draw((1, 1, 4, 4), 1)
    alone = review.loss([large[0]], [large[1]]).item()
    assert review.loss([small[0]], [small[1]]).item() == pytest.approx(4)
    both = review.loss([small[0], large[0]], [small[1], large[1]]).item()
    assert both == pytest.approx(4 + alone)


def test_a_map_that_is_narrower_than_high_is_pooled_to_what_it_has() -> None:
    teacher = draw((1, 2, 5, 2), 0)
    assert review.loss([teacher + 3], [teacher]).item() == pytest.approx(9)


def test_stages_without_a_partner_are_an_error() -> None:
    teacher = draw((1, 2, 4, 4), 0)
    with pytest.raises(ValueError, match="longer"):
        review.loss([teacher], [teacher, teacher])
