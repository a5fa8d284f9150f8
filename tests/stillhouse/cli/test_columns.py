from __future__ import annotations

from pathlib import Path

import pytest
import typer

from stillhouse.cli import columns

HEADER = "\ufeffid,pixel1,pixel0,label,split,a*b,other\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "digits.csv"
    found.write_text(HEADER + "0,1,2,3,4,5,6\n", encoding="utf-8")
    return found


def named(text: str, file: Path, *, kind: str | None = None) -> str | list[str]:
    return columns.named(text, file, kind=kind, others=["label", "split"])


def test_one_name_is_one_column(file: Path) -> None:
    assert named("image", file) == "image"


def test_names_between_commas_are_columns_of_any_format() -> None:
    assert named("a, b,c", Path("d.parquet")) == ["a", "b", "c"]


def test_a_pattern_is_the_columns_of_the_header_in_its_order(file: Path) -> None:
    assert named("pixel*", file) == ["pixel1", "pixel0"]
    assert named("id,pixel[0-9]", file) == ["id", "pixel1", "pixel0"]


def test_a_pattern_takes_no_column_twice_and_neither_label_nor_split(file: Path) -> None:
    assert named("pixel0,*", file) == ["pixel0", "id", "pixel1", "a*b", "other"]


def test_a_column_that_looks_like_a_pattern_is_itself(file: Path) -> None:
    assert named("a*b", file) == ["a*b"]


@pytest.mark.parametrize("text", ["px*", "a,,b", ""])
def test_what_names_no_column_is_wrong_usage(file: Path, text: str) -> None:
    with pytest.raises(typer.BadParameter):
        named(text, file)


def test_a_pattern_needs_a_header_that_can_be_read_here(file: Path) -> None:
    parquet = file.rename(file.with_suffix(".parquet"))
    with pytest.raises(typer.BadParameter, match="header line of a csv"):
        named("pixel*", parquet)
    assert named("pixel*", parquet, kind="csv") == ["pixel1", "pixel0"]
    parquet.write_bytes(b"\xff\xfe")
    with pytest.raises(typer.BadParameter, match="can't be read"):
        named("pixel*", parquet, kind="csv")
