"""MNIST-1D: ten shapes as series of 40 values, shifted, scaled and noisy (arXiv:2011.14439)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from mnist1d.data import get_dataset_args, make_dataset


def write(folder: Path, *, rows: int = 5000) -> None:
    """Write `series.npz`: x (rows, 40) float32 and y (rows,), made by the published generator.

    Args:
        folder: Where it goes.
        rows: How many; of a fixed shuffle, as the generator lists one class after another.
    """
    settings = get_dataset_args()
    settings.num_samples = rows
    settings.train_split = 1.0
    made = make_dataset(settings)
    order = np.random.default_rng(0).permutation(len(made["y"]))
    series = np.asarray(made["x"], dtype=np.float32)[order]
    np.savez(folder / "series.npz", x=series, y=np.asarray(made["y"], dtype=np.int64)[order])


if __name__ == "__main__":
    write(Path(sys.argv[1]))
