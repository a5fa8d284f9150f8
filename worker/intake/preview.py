"""A few rows to look at: small pictures as data URLs."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from worker.intake.rows import Array

MAX_ROWS = 10
MAX_SIDE_PIXELS = 64

Indices = npt.NDArray[np.int64]


def make(
    pixels: Array, labels: Indices, classes: list[str], train: Indices
) -> list[dict[str, Any]]:
    """The first train row of each class, at most ten.

    Args:
        pixels: (n, height, width, channels).
        labels: (n,).
        classes: their names.
        train: row numbers.

    Returns:
        `{row, part, label, class, image}` each, `image` a PNG of at most 64 pixels a side.
    """
    _, first = np.unique(labels[train], return_index=True)
    return [
        {
            "row": int(row),
            "part": "train",
            "label": int(labels[row]),
            "class": classes[labels[row]],
            "image": _data_url(pixels[row]),
        }
        for row in train[np.sort(first)][:MAX_ROWS]
    ]


def _data_url(pixels: Array) -> str:
    picture = Image.fromarray(
        _visible(pixels).squeeze(2) if pixels.shape[2] == 1 else _visible(pixels)
    )
    picture.thumbnail((MAX_SIDE_PIXELS, MAX_SIDE_PIXELS))
    png = io.BytesIO()
    picture.save(png, format="PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode("ascii")


def _visible(pixels: Array) -> npt.NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return np.asarray(pixels)
    low, high = float(pixels.min()), float(pixels.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    spread = (high - low) or 1.0
    return np.rint((pixels.astype(np.float64) - low) / spread * 255).astype(np.uint8)
