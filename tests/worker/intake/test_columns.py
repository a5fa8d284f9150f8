from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.spec import TableInput
from worker.engine.data.parts import open_part

TABLE = {"modality": "tabular"}
COLOURS = ["red", "green", "blue"]
ROWS: list[dict[str, Any]] = [
    {
        "age": None if row % 7 == 0 else row,
        "colour": None if row % 11 == 0 else COLOURS[row % 3],
        "label": "yes" if row % 2 else "no",
        "split": "test" if row >= 30 else "train",
    }
    for row in range(40)
]
SPLITS = {"column": "split", "validation": 0}


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    lines = [",".join("" if cell is None else str(cell) for cell in row.values()) for row in rows]
    return "\n".join([",".join(rows[0]), *lines]).encode()


def as_columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def with_rows(*odd: dict[str, Any], **cells: Any) -> list[dict[str, Any]]:
    return [row | cells for row in ROWS] + [ROWS[1] | cells | row for row in odd]


def test_all_formats_of_the_same_table_give_the_same_dataset(
    intake: Any, parquet: Callable[..., Path], jsonl: Callable[..., Path]
) -> None:
    sources = [jsonl(*ROWS), parquet(as_columns(ROWS)), intake.write("t.csv", as_csv(ROWS))]
    results = [intake.dataset(source, splits=SPLITS, **TABLE).result for source in sources]
    assert len({result["fingerprint"] for result in results}) == 1
    assert results[0]["input"] == results[1]["input"] == results[2]["input"]
    TableInput.model_validate(results[0]["input"])


def test_cells_are_numbers_and_positions_of_categories(
    intake: Any, jsonl: Callable[..., Path]
) -> None:
    taken = intake.dataset(jsonl(*ROWS), splits=SPLITS, **TABLE)
    age, colour = taken.result["input"]["columns"]
    assert (age["name"], colour["name"]) == ("age", "colour")
    assert colour["values"] == ["blue", "green", "red"]
    for name in ("train", "test"):
        part = open_part(taken.files[f"{name}.npz"])
        assert part.modality == "tabular"
        for cells, row in zip(part.x, part.rows, strict=True):
            said = ROWS[int(row)]
            assert np.isnan(cells[0]) if said["age"] is None else cells[0] == said["age"]
            found = None if cells[1] < 0 else colour["values"][int(cells[1])]
            assert found == said["colour"]


def test_statistics_and_categories_are_the_train_parts(
    intake: Any, jsonl: Callable[..., Path]
) -> None:
    rows = with_rows({"age": 10_000, "colour": "amber", "split": "test"})
    taken = intake.dataset(jsonl(*rows), splits=SPLITS, **TABLE)
    age, colour = taken.result["input"]["columns"]
    train = [row["age"] for row in ROWS[:30] if row["age"] is not None]
    assert age["mean"] == pytest.approx(np.mean(train))
    assert age["std"] == pytest.approx(np.std(train))
    assert colour["values"] == ["blue", "green", "red"]
    assert taken.part("test")["x"][-1].tolist() == [10_000, -1], "unseen is as good as missing"


def test_a_constant_column_has_the_deviation_1(intake: Any, jsonl: Callable[..., Path]) -> None:
    taken = intake.dataset(jsonl(*with_rows(age=0.1)), splits=SPLITS, **TABLE)
    assert taken.result["input"]["columns"][0]["std"] == 1.0


KINDS: dict[str, tuple[str, list[Any]]] = {
    "whole numbers": ("number", [1, 2, 3]),
    "fractions": ("number", [0.5, -1e3, 7]),
    "text": ("category", ["a", "b", "c"]),
    "one text among numbers": ("category", [1, 2, "c"]),
    "truth": ("category", [True, False, True]),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_are_told_from_all_values(name: str, intake: Any, jsonl: Callable[..., Path]) -> None:
    kind, cells = KINDS[name]
    rows = [row | {"age": cells[at % 3]} for at, row in enumerate(ROWS * 8)]
    found = intake.dataset(jsonl(*rows), splits=SPLITS, **TABLE).result["input"]["columns"][0]
    assert found["kind"] == kind


def test_only_csv_reads_numbers_in_texts(
    intake: Any, jsonl: Callable[..., Path], parquet: Callable[..., Path]
) -> None:
    rows = [row | {"age": str(at % 5)} for at, row in enumerate(ROWS)]
    sources = [jsonl(*rows), parquet(as_columns(rows)), intake.write("t.csv", as_csv(rows))]
    results = [intake.dataset(source, splits=SPLITS, **TABLE).result for source in sources]
    kinds = [result["input"]["columns"][0]["kind"] for result in results]
    assert kinds == ["category", "category", "number"]


def test_a_kind_and_values_in_the_users_words_stand(
    intake: Any, jsonl: Callable[..., Path]
) -> None:
    said = [
        {"name": "age", "kind": "category"},
        {"name": "colour", "kind": "category", "values": ["red", "violet", "blue"]},
    ]
    taken = intake.dataset(
        jsonl(*ROWS), splits=SPLITS, input={"modality": "tabular", "columns": said}, **TABLE
    )
    age, colour = taken.result["input"]["columns"]
    seen = {str(row["age"]) for row in ROWS[:30] if row["age"] is not None}
    assert set(age["values"]) == seen
    assert colour == said[1]
    first = taken.part("train")
    assert {int(code) for code in first["x"][:, 1]} == {-1, 0, 2}


def test_another_datasets_input_makes_the_cells_mean_the_same(
    intake: Any, jsonl: Callable[..., Path]
) -> None:
    given = intake.dataset(jsonl(*ROWS), splits=SPLITS, **TABLE).result["input"]
    more = [{"colour": ["red", "amber"][row % 2], "age": None} for row in range(6)]
    taken = intake.dataset(jsonl(*more), input=given, columns={"label": None}, **TABLE)
    assert taken.result["input"] == given
    cells = taken.part("train")["x"]
    assert np.isnan(cells[:, 0]).all()
    assert cells[:, 1].tolist() == [2, -1] * 3


def test_texts_are_read_as_numbers_where_the_user_says_so(
    intake: Any, jsonl: Callable[..., Path]
) -> None:
    rows = [row | {"age": str(at % 5)} for at, row in enumerate(ROWS)]
    said = {"modality": "tabular", "columns": [{"name": "age", "kind": "number"}]}
    train = intake.dataset(jsonl(*rows), splits=SPLITS, input=said, **TABLE).part("train")
    assert np.array_equal(train["x"][:, 0], train["rows"] % 5)


def test_the_same_number_is_one_category_however_it_is_stored(
    intake: Any, parquet: Callable[..., Path]
) -> None:
    said = {"modality": "tabular", "columns": [{"name": "age", "kind": "category"}]}
    columns = as_columns(ROWS) | {"age": [float(row % 3) for row in range(40)]}
    taken = intake.dataset(parquet(columns), splits=SPLITS, input=said, **TABLE)
    assert taken.result["input"]["columns"][0]["values"] == ["0", "1", "2"]


def test_an_npz_table_has_numbered_columns(intake: Any, npz: Callable[..., Path]) -> None:
    x = np.random.default_rng(0).integers(0, 4, (60, 3)).astype(np.float32)
    x[5, 1] = np.nan
    said = {"modality": "tabular", "columns": [{"name": "2", "kind": "category"}]}
    taken = intake.dataset(npz(x=x, y=np.arange(60) % 3), input=said, **TABLE)
    columns = taken.result["input"]["columns"]
    assert [column["name"] for column in columns] == ["0", "1", "2"]
    assert columns[2]["values"] == ["0", "1", "2", "3"]
    train = taken.part("train")
    assert np.array_equal(train["x"], x[train["rows"]], equal_nan=True)


def test_a_source_for_each_part_agrees_on_kinds(intake: Any, jsonl: Callable[..., Path]) -> None:
    train = [{"a": row, "b": row % 3, "label": row % 2} for row in range(20)]
    test = [{"b": "many", "a": row, "label": row % 2} for row in range(6)]
    sources = {"train": jsonl(*train, name="a"), "test": jsonl(*test, name="b")}
    taken = intake.dataset(sources, splits={"validation": 0}, **TABLE)
    first, second = taken.result["input"]["columns"]
    assert (first["name"], first["kind"]) == ("a", "number")
    assert (second["kind"], second["values"]) == ("category", ["0", "1", "2"])
    assert taken.part("test")["x"].tolist() == [[row, -1] for row in range(6)]


def test_datasets_differ_where_their_categories_do(intake: Any, jsonl: Callable[..., Path]) -> None:
    renamed = [row | {"colour": row["colour"] and row["colour"].upper()} for row in ROWS]
    one = intake.dataset(jsonl(*ROWS), splits=SPLITS, **TABLE)
    other = intake.dataset(jsonl(*renamed), splits=SPLITS, **TABLE)
    assert one.listed["train.npz"]["sha256"] == other.listed["train.npz"]["sha256"]
    assert one.result["fingerprint"] != other.result["fingerprint"]


def test_the_preview_shows_cells_by_column(intake: Any, jsonl: Callable[..., Path]) -> None:
    shown = intake.dataset(jsonl(*ROWS), splits=SPLITS, **TABLE).result["preview"]
    assert [row["cells"] for row in shown] == [
        {"age": None, "colour": None},
        {"age": 1.0, "colour": "green"},
    ]


BAD_TABLES: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any]]] = {
    "an empty column": ("column_empty", with_rows(age=None), {}),
    "a column that is empty in train": (
        "column_empty",
        with_rows({"age": 3, "split": "test"}, age=None),
        {},
    ),
    "categories only in test": (
        "column_empty",
        with_rows({"colour": "red", "split": "test"}, colour=None),
        {},
    ),
    "a list": ("column_type", with_rows(age=[1, 2]), {}),
    "an object": ("column_type", with_rows({"age": {}}), {}),
    "an infinity in float32": ("not_finite", with_rows({"age": 1e300}), {}),
    "a huge integer": ("not_finite", with_rows({"age": 10**400}), {}),
    "a line break": ("category_invalid", with_rows({"colour": "a\nb"}), {}),
    "a NUL": ("category_invalid", with_rows({"colour": "a\0b"}), {}),
    "an empty category": ("category_invalid", with_rows({"colour": ""}), {}),
    "a long category": ("category_invalid", with_rows({"colour": "x" * 257}), {}),
    "half a surrogate pair": ("column_type", with_rows({"colour": "\ud800"}), {}),
    "a nameless column": ("column_name", with_rows(**{"": 1}), {}),
    "a column with a NUL": ("column_name", with_rows(**{"a\0": 1}), {}),
    "the label as an input": ("columns_overlap", ROWS, {"columns": {"input": ["age", "label"]}}),
    "a column twice": ("column_twice", ROWS, {"columns": {"input": ["age", "age"]}}),
    "no column": ("column_missing", ROWS, {"columns": {"input": []}}),
    "a kind for no column": (
        "column_missing",
        ROWS,
        {"input": {"modality": "tabular", "columns": [{"name": "label", "kind": "category"}]}},
    ),
    "a kind that isn't": (
        "column_type",
        ROWS,
        {"input": {"modality": "tabular", "columns": [{"name": "colour", "kind": "number"}]}},
    ),
    "a column said twice": (
        "column_twice",
        ROWS,
        {"input": {"modality": "tabular", "columns": [{"name": "age", "kind": "number"}] * 2}},
    ),
    "more than is allowed": ("limit_exceeded", ROWS, {"limits": 100}),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables_are_refused_by_name(
    name: str, intake: Any, jsonl: Callable[..., Path], refused: Callable[..., Any]
) -> None:
    code, rows, spec = BAD_TABLES[name]
    found = refused(code, lambda: intake.dataset(jsonl(*rows), splits=SPLITS, **TABLE, **spec))
    assert found.field
    assert "\0" not in str(found.as_dict())


def test_more_categories_than_a_network_should_have_are_refused(
    intake: Any, refused: Callable[..., Any]
) -> None:
    lines = [f"c{row},{row % 2}" for row in range(10_001)]
    source = intake.write("t.csv", "\n".join(["colour,label", *lines]).encode())
    refused("too_many_categories", lambda: intake.dataset(source, **TABLE))


def test_what_a_csv_file_says_of_missing_and_odd_cells(
    intake: Any, refused: Callable[..., Any]
) -> None:
    cells = ["1", " 2 ", "+3e0", "", "NaN", " null "]
    lines = [f"{cells[row % 6]},{row % 2}" for row in range(12)]
    none = {"validation": 0, "test": 0}
    taken = intake.dataset(
        intake.write("t.csv", "\n".join(["a,label", *lines]).encode()), splits=none, **TABLE
    )
    nan = float("nan")
    expected = np.asarray([[1], [2], [3], [nan], [nan], [nan]] * 2, np.float32)
    assert np.array_equal(taken.part("train")["x"], expected, equal_nan=True)
    for odd in ("inf", "-Infinity", "1e400"):
        source = intake.write("odd.csv", "\n".join(["a,label", *lines, f"{odd},0"]).encode())
        refused("not_finite", lambda source=source: intake.dataset(source, splits=none, **TABLE))
    for odd in ("0x10", "1_000", "\uff11", "twelve"):
        source = intake.write("odd.csv", "\n".join(["a,label", *lines, f"{odd},0"]).encode())
        column = intake.dataset(source, splits=none, **TABLE).result["input"]["columns"][0]
        assert odd in column["values"]
