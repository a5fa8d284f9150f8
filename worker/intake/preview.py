"""A few rows to look at: small pictures as data URLs, beginnings of texts, cells, values."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from worker.intake.rows import Array, Decoded, Indices
from worker.intake.words import plain

MAX_ROWS = 10
MAX_SIDE_PIXELS = 64
MAX_CHARACTERS = 200
MAX_COLUMNS = 32
MAX_VALUES = 64
MAX_CHANNELS = 8


def make(
    items: Decoded,
    labels: Indices,
    classes: list[str],
    train: Indices,
    spec: dict[str, Any],
) -> list[dict[str, Any]]:
    """The first train row of each class, or the first rows where there are no classes.

    Args:
        items: all of the dataset's.
        labels: (n,).
        classes: their names; none: the rows are unlabelled.
        train: row numbers.
        spec: the dataset's input, without `modality` for images.

    Returns:
        At most ten `{row, part, label, class, …}`, and what there is to see: `image`, a PNG of at
        most 64 pixels a side; `text`, its first 200 characters; `cells`, up to 32 by column;
        `values`, up to 64 of each of up to 8 channels.
    """
    first = np.arange(len(train))
    if classes:
        first = np.sort(np.unique(labels[train], return_index=True)[1])
    chosen = train[first[:MAX_ROWS]]
    return [
        {
            "row": int(row),
            "part": "train",
            "label": int(labels[row]) if classes else None,
            "class": classes[labels[row]] if classes else None,
        }
        | _seen(item, spec)
        for row, item in zip(chosen, items.take(chosen), strict=True)
    ]


def _seen(item: Array, spec: dict[str, Any]) -> dict[str, Any]:
    match spec.get("modality"):
        case "text":
            # A character has at most four bytes; one that is cut at the end is beyond the others.
            text = item[: 4 * MAX_CHARACTERS].tobytes().decode(errors="ignore")
            return {"text": plain(text, MAX_CHARACTERS)}
        case "tabular":
            columns = zip(spec["columns"][:MAX_COLUMNS], item, strict=False)
            return {"cells": {column["name"]: _cell(column, value) for column, value in columns}}
        case "sequence":
            return {"values": item[:MAX_VALUES, :MAX_CHANNELS].T.tolist()}
        case _:
            return {"image": _data_url(item)}


def _cell(column: dict[str, Any], value: Any) -> float | str | None:
    if column["kind"] == "number":
        return None if np.isnan(value) else float(value)
    return None if value < 0 else str(column["values"][int(value)])


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
