"""Labels: class indices, or names; checked before they come near a loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stillhouse.errors import InputRejected
from worker.intake.rows import Array, Rows
from worker.intake.words import MAX_NAME_CHARACTERS, is_name, plain

MAX_CLASSES = 100_000
UNLABELLED = -1


def read(array: Array, *, name: str) -> Array:
    """Labels (n,) or (n, 1) as int64 indices or as text, (n,).

    Integers, whole floats, booleans, text and UTF-8 bytes pass; anything else is refused as
    `label_shape` or `label_not_integer`. `name` is what the source calls them.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputRejected(
            "label_shape",
            f"'{plain(name)}' has the shape {list(array.shape)}; give one class a row, (n,).",
            field="columns.label",
        )
    if array.dtype.kind == "S":
        return _text(array, name)
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind == "f":
        return _whole_numbers(array, name)
    if array.dtype.kind not in "iub":
        raise _not_integer(name, f"is {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise _not_integer(name, "holds numbers beyond any class")
    return array.astype(np.int64)


def as_text(texts: Sequence[str]) -> Array:
    """Labels as an array of text, whose width is that of the longest: none may be enormous."""
    if any(len(text) > MAX_NAME_CHARACTERS for text in texts):
        raise _invalid_names()
    return np.asarray(texts, np.str_)


def read_text(texts: Array, *, name: str, classes: tuple[str, ...] | None) -> Array:
    """Labels that came as text, such as a csv file's: names, or numbers if all of them are.

    Args:
        texts: (n,), text.
        name: the column.
        classes: where all texts are among them, they are names, even "0", "1", ….

    Returns:
        (n,), int64 or text.

    Raises:
        InputRejected: `labels_missing` or `label_not_integer`.
    """
    distinct = np.unique(texts)
    if "" in distinct:
        raise InputRejected(
            "labels_missing",
            f"'{plain(name)}' is empty in some rows; every row needs its label.",
            field="columns.label",
        )
    if classes is not None and set(distinct.tolist()) <= set(classes):
        return texts
    try:
        numbers = texts.astype(np.float64)
    except ValueError:
        return texts
    return _whole_numbers(numbers, name)


def index(rows: Rows, classes: tuple[str, ...] | None) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Class indices, and the names they stand for.

    Args:
        rows: with raw labels, or without any.
        classes: the order that was asked for, if any.

    Returns:
        Indices (n,) and names; `UNLABELLED` and no names where there are no labels.

    Raises:
        InputRejected: `label_out_of_range`, `label_unknown`, `label_invalid`, `one_class`,
            `labels_missing` or `dataset_empty`.
    """
    if not len(rows.parts):
        raise InputRejected("dataset_empty", "The dataset has no rows; send at least two classes.")
    if rows.labels is None:
        return _unlabelled(len(rows.parts), classes)
    if are_unnamed(rows):
        labels, names = _indexed(rows.labels, classes)
    else:
        labels, names = _named(_texts(rows.labels, rows.classes or ()), classes)
    if np.all(labels == labels[0]):
        raise InputRejected(
            "one_class", "All rows have the same class; there is nothing to tell apart."
        )
    return labels, names


def are_unnamed(rows: Rows) -> bool:
    """Whether the source only numbers its classes; such names say nothing to a teacher's."""
    return rows.labels is not None and rows.labels.dtype.kind == "i" and rows.classes is None


def _unlabelled(
    count: int, classes: tuple[str, ...] | None
) -> tuple[npt.NDArray[np.int64], list[str]]:
    if classes is not None:
        raise InputRejected(
            "labels_missing",
            "An unlabelled set (columns.label is null) has no classes; leave 'classes' out, or "
            "name the label column.",
            field="classes",
        )
    return np.full(count, UNLABELLED, np.int64), []


def _indexed(labels: Array, classes: tuple[str, ...] | None) -> tuple[Array, list[str]]:
    highest = int(labels.max())
    count = len(classes) if classes is not None else highest + 1
    if labels.min() < 0 or highest >= count or count > MAX_CLASSES:
        bound = f"0 … {min(count, MAX_CLASSES) - 1}" if classes else f"0 … {MAX_CLASSES - 1}"
        raise InputRejected(
            "label_out_of_range",
            f"Labels reach from {int(labels.min())} to {highest}, and classes are {bound}; "
            "number them from 0.",
            field="classes" if classes else "columns.label",
        )
    return labels, list(classes) if classes else [str(number) for number in range(count)]


def _texts(labels: Array, names: tuple[str, ...]) -> Array:
    """Labels as names; integers through the names that the source brings."""
    if labels.dtype.kind != "i":
        return labels
    if labels.min() < 0 or labels.max() >= len(names):
        raise InputRejected(
            "label_out_of_range",
            f"Labels reach from {labels.min()} to {labels.max()}, and the source names "
            f"{len(names)} classes; number them from 0.",
            field="columns.label",
        )
    return np.asarray(names, dtype=np.str_)[labels]


def _named(texts: Array, classes: tuple[str, ...] | None) -> tuple[Array, list[str]]:
    found, inverse = np.unique(texts, return_inverse=True)
    names = list(classes) if classes is not None else _checked_names(found)
    position = {name: number for number, name in enumerate(names)}
    unknown = [name for name in _checked_names(found) if name not in position]
    if unknown:
        raise InputRejected(
            "label_unknown",
            f"{len(unknown)} labels are not among 'classes': "
            f"{', '.join(name[:50] for name in unknown[:5])}; name every class.",
            field="classes",
        )
    return np.asarray([position[str(name)] for name in found], np.int64)[inverse], names


def _checked_names(found: Array) -> list[str]:
    """Names that can stand in JSON, in a database and on a page."""
    try:
        names = [str(name) for name in found]
    except (ValueError, SystemError):  # numpy's text holds any 32 bits; Python's doesn't.
        names = [""]
    if len(names) > MAX_CLASSES or not all(map(is_name, names)):
        raise _invalid_names()
    return names


def _invalid_names() -> InputRejected:
    return InputRejected(
        "label_invalid",
        f"Labels are at most {MAX_CLASSES} different names of 1 to {MAX_NAME_CHARACTERS} "
        "printable characters; clean the label column.",
        field="columns.label",
    )


def _whole_numbers(array: npt.NDArray[Any], name: str) -> npt.NDArray[np.int64]:
    if not np.all(np.isfinite(array)) or not np.all(array == np.floor(array)):
        raise _not_integer(name, "holds numbers that are not whole")
    if array.size and np.abs(array).max() >= 2**53:
        raise _not_integer(name, "holds numbers beyond any class")
    return array.astype(np.int64)


def _text(array: Array, name: str) -> Array:
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise _not_integer(name, "is not UTF-8") from error


def _not_integer(name: str, what: str) -> InputRejected:
    return InputRejected(
        "label_not_integer",
        f"'{plain(name)}' {what}; labels are class numbers from 0, or names.",
        field="columns.label",
    )
