from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.errors import InputRejected
from worker.intake import jsonl as reader

GOOD = [{"a": row, "text": f"t{row}", "label": row % 2} for row in range(20)]
TABLE = {"modality": "tabular", "columns": {"input": ["a"]}}

BAD_LINES: dict[str, bytes] = {
    "cut": b'{"a": 1, "label": 0',
    "an array": b'[{"a": 1}]',
    "a number": b"1",
    "two objects": b'{"a": 1, "label": 0} {"a": 1, "label": 0}',
    "NaN": b'{"a": NaN, "label": 0}',
    "an infinity": b'{"a": -Infinity, "label": 0}',
    "a key twice": b'{"a": 1, "a": 2, "label": 0}',
    "a key twice within": b'{"a": {"b": 1, "b": 1}, "label": 0}',
    "deep lists": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a": ' * 100_000 + b"1" + b"}" * 100_000,
    "an integer of 5000 digits": b'{"a": ' + b"9" * 5000 + b', "label": 0}',
    "not UTF-8": b'{"a": "\xff", "label": 0}',
    "UTF-16": '{"a": 1, "label": 0}'.encode("utf-16"),
    "a control character": b'{"a": "\x01", "label": 0}',
    "single quotes": b"{'a': 1, 'label': 0}",
    "an enormous line": b'{"a": "' + b"x" * reader.MAX_LINE_BYTES + b'"}',
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_line_that_is_no_object_is_refused_by_its_number(
    name: str, intake: Any, jsonl: Callable[..., Path], refused: Callable[..., Any]
) -> None:
    source = intake.write("bad.jsonl", jsonl(*GOOD).read_bytes() + BAD_LINES[name] + b"\n")
    found = refused("jsonl_invalid", lambda: intake.dataset(source, format="jsonl", **TABLE))
    assert "Line 21 " in found.detail
    assert found.field == "source"


def test_marks_line_ends_and_blank_lines_of_other_editors_are_accepted(
    intake: Any, jsonl: Callable[..., Path]
) -> None:
    plain = jsonl(*GOOD).read_bytes()
    odd = b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n \r\n")
    given = [intake.dataset(intake.write("t", content), **TABLE) for content in (plain, odd)]
    assert given[0].result["fingerprint"] == given[1].result["fingerprint"]
    assert given[1].result["format"] == "jsonl"


BAD_LABELS: dict[str, tuple[str, list[Any]]] = {
    "a missing label": ("labels_missing", [{"a": 1}]),
    "null": ("labels_missing", [{"a": 1, "label": None}]),
    "text among numbers": ("column_type", [{"a": 1, "label": "1"}]),
    "a list": ("column_type", [{"a": 1, "label": [1]}]),
    "half": ("label_not_integer", [{"a": 1, "label": 0.5}]),
    "huge": ("label_not_integer", [{"a": 1, "label": 10**30}]),
    "huge, among floats": (
        "label_not_integer",
        [{"a": 1, "label": 0.0}, {"a": 1, "label": 10**400}],
    ),
    "negative": ("label_out_of_range", [{"a": 1, "label": -1}]),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_bad_labels_are_refused_by_name(
    name: str, intake: Any, jsonl: Callable[..., Path], refused: Callable[..., Any]
) -> None:
    code, rows = BAD_LABELS[name]
    refused(code, lambda: intake.dataset(jsonl(*GOOD, *rows), **TABLE))


def test_a_label_of_a_million_characters_is_refused(
    intake: Any, jsonl: Callable[..., Path], refused: Callable[..., Any]
) -> None:
    rows = [{"a": 1, "label": "x" * 1_000_000}, {"a": 1, "label": "y"}]
    refused("label_invalid", lambda: intake.dataset(jsonl(*rows), **TABLE))


def test_an_image_dataset_in_jsonl_is_refused_with_the_modalities_that_fit(
    intake: Any, jsonl: Callable[..., Path], refused: Callable[..., Any]
) -> None:
    found = refused("format_not_for_modality", lambda: intake.dataset(jsonl(*GOOD)))
    assert found.extra["allowed"] == ["text", "tabular", "sequence"]


def test_rows_without_any_object_are_no_dataset(intake: Any, refused: Callable[..., Any]) -> None:
    source = intake.write("blank.jsonl", b" \n\n")
    spec = TABLE | {"format": "jsonl"}
    refused("dataset_empty", lambda: intake.dataset(source, **spec))


def test_keys_without_end_are_refused(
    intake: Any, jsonl: Callable[..., Path], refused: Callable[..., Any]
) -> None:
    rows = [{f"k{row}-{at}": 1 for at in range(1000)} for row in range(11)]
    refused("too_many_columns", lambda: intake.dataset(jsonl(*rows), **TABLE))


SCRAPS = [b'"', b"{", b"[", b",", b"\n", b"\r", b"\xff", b"\0", b"null", b"1e999", b"9" * 400,
          b"\\ud800", b"\xed\xa0\x80", b"NaN", b"", b'""', b"\xef\xbb\xbf", b"-"]  # fmt: skip


@pytest.mark.parametrize("modality", ["text", "tabular", "sequence"])
@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_whatever_the_bytes_the_answer_is_a_dataset_or_a_sentence(
    modality: str, format_: str, intake: Any, jsonl: Callable[..., Path]
) -> None:
    generator = np.random.default_rng(len(modality) + len(format_))
    good = jsonl(*GOOD).read_bytes()
    if format_ == "csv":
        lines = [",".join(map(str, row.values())) for row in GOOD]
        good = "\n".join(["a,text,label", *lines]).encode()
    details = []
    for _ in range(60):
        content = bytearray(good)
        for _ in range(generator.integers(1, 4)):
            start = int(generator.integers(len(content)))
            content[start : start + generator.integers(9)] = SCRAPS[generator.integers(18)]
        source = intake.write("mutated", bytes(content))
        try:
            intake.dataset(source, modality=modality, format=format_)
        except InputRejected as found:
            details.append(found.detail)
    assert details
    assert all(detail.isprintable() and detail.endswith(".") for detail in details)
