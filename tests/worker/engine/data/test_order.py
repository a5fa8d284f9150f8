from __future__ import annotations

import numpy as np

from worker.engine.data import order


def test_an_epoch_shows_every_item_once() -> None:
    assert sorted(order.permutation(1000, seed=3, epoch=5)) == list(range(1000))


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else() -> None:
    first = order.permutation(100, seed=3, epoch=5)
    assert np.array_equal(first, order.permutation(100, seed=3, epoch=5))
    assert not np.array_equal(first, order.permutation(100, seed=3, epoch=6))
    assert not np.array_equal(first, order.permutation(100, seed=4, epoch=5))


def test_the_order_is_that_of_every_other_version() -> None:
    assert order.permutation(8, seed=1, epoch=2).tolist() == [4, 2, 0, 6, 1, 5, 7, 3]


def test_the_last_incomplete_batch_is_kept() -> None:
    assert order.bounds(10, batch_size=4) == [(0, 4), (4, 8), (8, 10)]
    assert order.bounds(3, batch_size=4) == [(0, 3)]


def test_a_single_item_left_over_joins_the_batch_before() -> None:
    assert order.bounds(9, batch_size=4) == [(0, 4), (4, 9)]


def test_batches_of_one_stay_batches_of_one() -> None:
    assert order.bounds(3, batch_size=1) == [(0, 1), (1, 2), (2, 3)]
