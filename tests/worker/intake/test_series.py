from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker.engine.data.parts import open_part

SERIES = {"modality": "sequence"}
NAMES = [f"t{at}" for at in range(5)]


@pytest.fixture
def waves() -> tuple[Any, Any]:
    """40 series of 5 values in two classes."""
    values = np.random.default_rng(0).integers(-8, 8, (40, 5)) / 4
    return values, np.arange(40) % 2


def test_all_formats_of_the_same_series_give_the_same_dataset(
    intake: Any,
    npz: Callable[..., Path],
    parquet: Callable[..., Path],
    jsonl: Callable[..., Path],
    waves: Any,
) -> None:
    x, y = waves
    wide = {name: x[:, at] for at, name in enumerate(NAMES)}
    lines = [",".join(map(str, [*row, label])) for row, label in zip(x, y, strict=True)]
    text = "\n".join([",".join([*NAMES, "label"]), *lines])
    rows = list(zip(x.tolist(), y.tolist(), strict=True))
    sources: list[Callable[[], Path]] = [
        lambda: npz(x=x, y=y),
        lambda: npz(x=x[..., None], y=y),
        lambda: parquet({"label": y} | wide),
        lambda: parquet({"wave": x.tolist(), "label": y}),
        lambda: intake.write("t.csv", text.encode()),
        lambda: jsonl(*({"wave": row, "label": label} for row, label in rows)),
        lambda: jsonl(*({"wave": [[v] for v in row], "label": label} for row, label in rows)),
        lambda: jsonl(*(dict(zip(NAMES, row, strict=True)) | {"label": y} for row, y in rows)),
    ]
    results = [intake.dataset(source(), **SERIES).result for source in sources]
    assert len({result["fingerprint"] for result in results}) == 1
    assert all(result["input"] == results[0]["input"] for result in results)


def test_channels_are_kept_and_statistics_are_the_train_parts(
    intake: Any, npz: Callable[..., Path]
) -> None:
    x = np.random.default_rng(0).normal(3, 2, (60, 7, 2))
    x[..., 1] = 0.1
    taken = intake.dataset(npz(x=x, y=np.arange(60) % 3), **SERIES)
    part = open_part(taken.files["train.npz"])
    assert part.modality == "sequence"
    assert np.array_equal(part.x, x[part.rows].astype(np.float32))
    found = taken.result["input"]
    assert (found["length"], found["channels"]) == (7, 2)
    train = x[part.rows][..., 0].astype(np.float32).astype(np.float64)
    assert found["mean"] == pytest.approx([train.mean(), np.float32(0.1)], rel=1e-12)
    assert found["std"] == pytest.approx([train.std(), 1.0], rel=1e-12)
    assert abs(found["mean"][0] - x[..., 0].mean()) > 1e-3, "not all rows' mean"


def test_statistics_in_the_users_words_stand(intake: Any, npz: Callable[..., Path]) -> None:
    x = np.ones((20, 3), np.int16)
    said = {"modality": "sequence", "length": 3, "mean": [0.5], "std": [2.0]}
    taken = intake.dataset(npz(x=x, y=np.arange(20) % 2), input=said, **SERIES)
    assert taken.result["input"] == said | {"channels": 1}


def test_the_preview_shows_values_by_channel(intake: Any, npz: Callable[..., Path]) -> None:
    x = np.arange(20 * 100 * 2).reshape(20, 100, 2)
    shown = intake.dataset(npz(x=x, y=np.arange(20) % 2), **SERIES).result["preview"][0]
    assert shown["values"] == x[shown["row"], :64].T.tolist()


BAD_SERIES: dict[str, tuple[str, list[Any]]] = {
    "another length": ("sequence_lengths_differ", [{"wave": [1, 2, 3], "label": 0}]),
    "two channels": ("sequence_lengths_differ", [{"wave": [[1, 2], [3, 4]], "label": 0}]),
    "ragged channels": ("sequence_invalid", [{"wave": [[1, 2], [3]], "label": 0}]),
    "text": ("sequence_invalid", [{"wave": ["1", "2"], "label": 0}]),
    "truth": ("sequence_invalid", [{"wave": [True, False], "label": 0}]),
    "a hole": ("sequence_invalid", [{"wave": [1, None], "label": 0}]),
    "an empty list": ("sequence_invalid", [{"wave": [], "label": 0}]),
    "an object": ("sequence_invalid", [{"wave": [{}, {}], "label": 0}]),
    "no list": ("sequence_invalid", [{"wave": 3, "label": 0}]),
    "nothing": ("sequence_invalid", [{"label": 0}]),
    "deep lists": ("sequence_invalid", [{"wave": [[[1]], [[2]]], "label": 0}]),
    "an infinity": ("not_finite", ['{"wave": [1e999, 0], "label": 0}']),
    "an infinity in float32": ("not_finite", [{"wave": [1e300, 0], "label": 0}]),
    "a huge integer": ("sequence_invalid", [{"wave": [10**30, 0], "label": 0}]),
    "a column more": ("sequence_invalid", [{"wave": [1, 2], "other": 1, "label": 0}]),
}


@pytest.mark.parametrize("name", BAD_SERIES)
@pytest.mark.parametrize("rows_before", [4, 300])
def test_bad_series_are_refused_by_name(
    name: str,
    rows_before: int,
    intake: Any,
    jsonl: Callable[..., Path],
    refused: Callable[..., Any],
) -> None:
    code, rows = BAD_SERIES[name]
    good = [{"wave": [row, row], "label": row % 2} for row in range(rows_before)]
    none = {"validation": 0, "test": 0}
    source = jsonl(*good, *rows)
    found = refused(code, lambda: intake.dataset(source, splits=none, **SERIES))
    assert found.field == "columns.input"


BAD_ARRAYS: dict[str, tuple[str, Callable[[Any], Any], dict[str, Any]]] = {
    "images": ("sequence_shape", lambda x: x[..., None, None], {}),
    "no values": ("sequence_shape", lambda x: x[:, :0], {}),
    "text": ("array_dtype", lambda x: x.astype(str), {}),
    "truth": ("array_dtype", lambda x: x > 0, {}),
    "a NaN": ("not_finite", lambda x: np.where(x == x.max(), np.nan, x), {}),
    "another length than said": (
        "input_differs",
        lambda x: x,
        {"input": {"modality": "sequence", "length": 6}},
    ),
    "more than is allowed": ("limit_exceeded", lambda x: x[:, :1].repeat(900, 1), {"limits": 9000}),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays_are_refused_by_name(
    name: str, intake: Any, npz: Callable[..., Path], waves: Any, refused: Callable[..., Any]
) -> None:
    code, change, spec = BAD_ARRAYS[name]
    x, y = waves
    source = npz(x=change(x).astype(np.float16) if "limits" in spec else change(x), y=y)
    if "limits" in spec:
        spec = {"limits": source.stat().st_size}
    assert refused(code, lambda: intake.dataset(source, **SERIES, **spec)).field
