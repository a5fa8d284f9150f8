"""The order of an epoch's items, a pure function of (seed, epoch)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def permutation(rows: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The positions 0 … rows - 1 in the epoch's order, (rows,).

    Raw Philox words are ranked, because numpy keeps the words of a bit generator for good
    but not what `Generator.permutation` makes of them (NEP 19).
    """
    words = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)).random_raw(rows)
    return np.argsort(words, kind="stable")


def bounds(rows: int, *, batch_size: int) -> list[tuple[int, int]]:
    """Start and stop of each batch of an epoch.

    The last one may be smaller, but never a single item, on which batch normalisation
    fails: that item joins the batch before it.
    """
    starts = list(range(0, rows, batch_size))
    if batch_size > 1 and len(starts) > 1 and rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], rows], strict=True))
