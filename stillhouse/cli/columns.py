"""The pixel columns of a csv or parquet file, as a command line can name them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import typer


def named(text: str, file: Path, *, kind: str | None, others: Sequence[str]) -> str | list[str]:
    """`image` as a column; `a,b,c` and `pixel*` as columns.

    A pattern stands for the columns of a local csv file that match, in the order of its header
    line. Another format's header can't be read here.

    Args:
        text: What was said.
        file: The file that is sent.
        kind: The format, if it was said.
        others: Columns that are no pixels, which no pattern takes: the label, the split.

    Returns:
        One column's name, or a list of names.

    Raises:
        typer.BadParameter: The text names no column, or a pattern matches none.
    """
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise typer.BadParameter(f"'{text}' leaves a column without a name; write a,b,c.")
    if any(_is_pattern(item) for item in items):
        header = _header(file, kind)
        items = [name for item in items for name in _matching(item, header, others)]
        return list(dict.fromkeys(items))
    return items if len(items) > 1 else items[0]


def _is_pattern(item: str) -> bool:
    return any(mark in item for mark in "*?[")


def _matching(item: str, header: Sequence[str], others: Sequence[str]) -> list[str]:
    if item in header or not _is_pattern(item):
        return [item]
    found = [name for name in header if name not in others and fnmatchcase(name, item)]
    if not found:
        some = ", ".join(header[:10])
        raise typer.BadParameter(f"No column is like '{item}'; the file begins with {some}.")
    return found


def _header(file: Path, kind: str | None) -> list[str]:
    if (kind or file.suffix.lstrip(".").lower()) != "csv":
        raise typer.BadParameter(
            "A pattern needs the header line of a csv file; name the columns as a,b,c."
        )
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return next(csv.reader(stream), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise typer.BadParameter(f"The header of '{file}' can't be read: {error}.") from error
