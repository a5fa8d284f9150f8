from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker.engine.data.parts import open_part
from worker.intake import texts

TEXT = {"modality": "text"}
TEXTS = ["plain", "", "two\nlines", "naïve… 你好 🙂", 'a "quote", a comma', "plain"]
ROWS = [{"text": TEXTS[row % 6], "label": "odd" if row % 2 else "even"} for row in range(24)]


def as_csv(rows: list[dict[str, str]], end: str) -> bytes:
    lines = [f'"{row["text"].replace(chr(34), chr(34) * 2)}",{row["label"]}' for row in rows]
    return (end.join(["text,label", *lines]) + end).encode()


def stored(taken: Any) -> list[tuple[int, str, int]]:
    found = []
    for name in ("train", "validation", "test"):
        part = open_part(taken.files[f"{name}.npz"])
        texts = part.texts(0, len(part))
        found += list(zip(part.rows.tolist(), texts, part.labels.tolist(), strict=True))
    return sorted(found)


def test_all_formats_of_the_same_texts_give_the_same_dataset(
    intake: Any, parquet: Callable[..., Path], jsonl: Callable[..., Path]
) -> None:
    columns = {"text": [row["text"] for row in ROWS], "label": [row["label"] for row in ROWS]}
    sources = [
        jsonl(*ROWS),
        parquet(columns),
        intake.write("lf.csv", as_csv(ROWS, "\n")),
        intake.write("bom-crlf.csv", b"\xef\xbb\xbf" + as_csv(ROWS, "\r\n")),
    ]
    taken = [intake.dataset(source, **TEXT) for source in sources]
    assert len({one.result["fingerprint"] for one in taken}) == 1
    assert [one.result["format"] for one in taken] == ["jsonl", "parquet", "csv", "csv"]
    classes = ["even", "odd"]
    expected = [(at, row["text"], classes.index(row["label"])) for at, row in enumerate(ROWS)]
    assert stored(taken[0]) == expected
    assert taken[0].result["input"] == TEXT


def test_line_breaks_in_quotes_may_lie_anywhere_in_a_long_csv_file(intake: Any) -> None:
    texts = [f"{row}" + "\nwords, and more" * 25_000 for row in range(24)]  # over 8 MiB
    rows = [{"text": text, "label": str(at % 2)} for at, text in enumerate(texts)]
    taken = intake.dataset(intake.write("t.csv", as_csv(rows, "\n")), **TEXT)
    assert [text for _, text, _ in stored(taken)] == texts


def test_the_column_and_the_length_are_the_users(intake: Any, jsonl: Callable[..., Path]) -> None:
    source = jsonl(*({"body": f"t{row}", "text": "x", "label": row % 2} for row in range(20)))
    said = {"modality": "text", "max_length": 32}
    taken = intake.dataset(source, columns={"input": "body"}, input=said, **TEXT)
    assert taken.result["input"] == said
    assert [text for _, text, _ in stored(taken)] == [f"t{row}" for row in range(20)]


def test_equal_texts_in_two_parts_are_counted_once_each(
    intake: Any, jsonl: Callable[..., Path]
) -> None:
    source = jsonl(
        *({"text": f"t{row % 8}", "label": row % 2, "split": "train"} for row in range(16)),
        *({"text": text, "label": 0, "split": "test"} for text in ("t0", "t0", "t1", "new")),
    )
    taken = intake.dataset(source, splits={"column": "split", "validation": 0}, **TEXT)
    assert taken.result["duplicates"] == {"across_parts": 2}


def test_a_part_of_empty_texts_is_a_part(intake: Any, jsonl: Callable[..., Path]) -> None:
    taken = intake.dataset(jsonl(*({"text": "", "label": row % 2} for row in range(20))), **TEXT)
    assert [text for _, text, _ in stored(taken)] == [""] * 20


def test_the_preview_shows_beginnings_that_can_be_printed(
    intake: Any, jsonl: Callable[..., Path]
) -> None:
    texts = ["🙂" * 300, "nul \0, bell \a, and a\nline"]
    source = jsonl(*({"text": texts[row % 2], "label": row % 2} for row in range(20)))
    shown = {row["label"]: row["text"] for row in intake.dataset(source, **TEXT).result["preview"]}
    assert shown == {0: "🙂" * 200, 1: "nul \ufffd, bell \ufffd, and a\ufffdline"}


BAD_TEXTS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "null": ("text_missing", [{"text": None, "label": 0}], {}),
    "missing": ("text_missing", [{"label": 0, "id": 1}], {}),
    "a number": ("column_type", [{"text": 3, "label": 0}], {}),
    "half a surrogate pair": ("text_invalid", ['{"text": "\\ud800", "label": 0}'], {}),
    "enormous": ("text_too_long", [{"text": "x" * (texts.MAX_TEXT_BYTES + 1), "label": 0}], {}),
    "two columns": ("column_twice", [], {"columns": {"input": ["text", "id"]}}),
    "another column": ("column_missing", [], {"columns": {"input": "body"}}),
    "more than is allowed": ("limit_exceeded", [], {"limits": 5}),
    "a tokenizer": (
        "tokenizer_of_a_dataset",
        [],
        {"input": {"modality": "text", "tokenizer": {"tokenizer.json": "0" * 64}}},
    ),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_bad_texts_are_refused_by_name(
    name: str, intake: Any, jsonl: Callable[..., Path], refused: Callable[..., Any]
) -> None:
    code, rows, spec = BAD_TEXTS[name]
    good = [{"text": "abc", "label": row % 2, "id": row} for row in range(20)]
    assert refused(code, lambda: intake.dataset(jsonl(*good, *rows), **TEXT, **spec)).field


def test_text_that_is_not_utf8_in_parquet_is_refused(
    intake: Any, parquet: Callable[..., Path], refused: Callable[..., Any]
) -> None:
    path = parquet({"text": ["marked"] * 20, "label": [0, 1] * 10})
    broken = path.read_bytes().replace(b"marked", b"mark\xff\xfe")
    source = intake.write("broken.parquet", broken)
    refused("parquet_invalid", lambda: intake.dataset(source, **TEXT))


def test_the_parts_can_be_read_by_numpy_alone(intake: Any, jsonl: Callable[..., Path]) -> None:
    train = intake.dataset(jsonl(*ROWS), **TEXT).part("train")
    first = train["x"][: train["ends"][0]].tobytes().decode()
    assert first == TEXTS[train["rows"][0] % 6]
    assert train["x"].dtype == np.uint8
    assert train["ends"][-1] == len(train["x"])
