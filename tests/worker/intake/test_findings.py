from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TABLE = {"modality": "tabular", "columns": {"input": ["a"], "id": "id"}}


@pytest.mark.parametrize("rare", [10, 11])
def test_classes_of_very_different_sizes_are_warned_of_with_the_remedy(
    rare: int, intake: Any, npz: Callable[..., Path]
) -> None:
    y = np.asarray([0] * 100 + [2] * rare)
    source = npz(x=np.zeros((len(y), 2, 2), np.uint8), y=y)
    result = intake.dataset(source, splits={"validation": 0, "test": 0}).result
    found = {warning["code"]: warning["message"] for warning in result["warnings"]}
    assert set(found) == {"classes_without_rows"} | (
        {"classes_imbalanced"} if rare == 10 else set()
    )
    if rare == 10:
        assert "100 train rows, the smallest 10 ('2')" in found["classes_imbalanced"]
        assert "class_weights 'balanced'" in found["classes_imbalanced"]


@pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet"])
def test_ids_are_kept_by_row_number_whatever_the_split(
    format_: str, intake: Any, jsonl: Callable[..., Path], parquet: Callable[..., Path]
) -> None:
    rows = [{"id": f"é-{row}" if row else "0", "a": row, "label": row % 2} for row in range(20)]
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in rows[0]}
    lines = [",".join(map(str, row.values())) for row in rows]
    csv = "\n".join(["id,a,label", *lines]).encode()
    sources = {
        "jsonl": jsonl(*rows),
        "parquet": parquet(columns),
        "csv": intake.write("t.csv", csv),
    }
    taken = intake.dataset(sources[format_], **TABLE)
    with np.load(taken.files["ids.npz"]) as arrays:
        assert arrays["ids"].tolist() == columns["id"]
        assert arrays["ids"].dtype.kind == "U"
    assert [column["name"] for column in taken.result["input"]["columns"]] == ["a"]


def test_whole_numbers_are_ids_across_the_parts(intake: Any, jsonl: Callable[..., Path]) -> None:
    def part(name: str, start: int) -> Path:
        rows = [{"id": start + row, "a": row, "label": row % 2} for row in range(8)]
        return jsonl(*rows, name=name)

    sources = {"train": part("a", 100), "test": part("b", 7)}
    taken = intake.dataset(sources, splits={"validation": 0}, **TABLE)
    with np.load(taken.files["ids.npz"]) as arrays:
        assert arrays["ids"].tolist() == [*map(str, range(100, 108)), *map(str, range(7, 15))]


BAD_IDS: dict[str, tuple[str, Any]] = {
    "twice": ("ids_not_unique", "r3"),
    "null": ("id_invalid", None),
    "empty": ("id_invalid", ""),
    "a NUL": ("id_invalid", "r\0"),
    "long": ("id_invalid", "r" * 129),
    "a fraction": ("column_type", 0.5),
}


@pytest.mark.parametrize("name", BAD_IDS)
def test_bad_ids_are_refused_by_name(
    name: str, intake: Any, jsonl: Callable[..., Path], refused: Callable[..., Any]
) -> None:
    code, odd = BAD_IDS[name]
    rows = [{"id": f"r{row}", "a": row, "label": row % 2} for row in range(20)]
    source = jsonl(*rows, {"id": odd, "a": 1, "label": 0})
    assert refused(code, lambda: intake.dataset(source, **TABLE)).field == "columns.id"
