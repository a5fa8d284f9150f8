"""Taking in what a teacher said of a dataset's rows: of any framework, of any remote model.

It leaves in log space whatever it came as. A probability p becomes log max(p, 1e-12), so that no
zero becomes an infinity; a label is the distribution that is 1 at its class.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from stillhouse.errors import InputRejected
from stillhouse.spec import Outputs, TeacherSpec
from worker.intake import archive, npz, publish, sniff, zips
from worker.protocol import File, IntakeAssignment

LEAST_PROBABILITY = 1e-12
SUM_TOLERANCE = 1e-3
Array = npt.NDArray[Any]
Logits = npt.NDArray[np.float32]


def take(
    spec: TeacherSpec, outputs: Outputs, assignment: IntakeAssignment
) -> tuple[dict[str, Any], list[File]]:
    """Take in a teacher that is known by its outputs alone.

    What can't be taken is refused as `InputRejected`, with the code of what is wrong.

    Args:
        spec: The teacher; its `classes`, if any, name the outputs' columns.
        outputs: What its bytes are, and of which dataset.
        assignment: Where they lie, and the dataset's classes and rows.

    Returns:
        The message's result, and the file `outputs.npz`: `outputs` (n, classes) float32 in log
        space, and `rows` (n,) int64, 0 to n - 1.
    """
    work, sources = Path(assignment["work"]), assignment["sources"]
    theirs = assignment.get("dataset_classes", [])
    if not theirs:
        _reject(
            "labels_missing",
            "The dataset is unlabelled, and a job learns from a labelled one; name that.",
            field="outputs.dataset",
        )
    found, ids = _read(assignment)
    _check_shape(found, kind=outputs.kind)
    order = _order(ids, found, sources)
    given = list(spec.classes) if spec.classes else None
    said = found if order is None else found[order]
    logits = _log_space(said, outputs, given or theirs)
    target = work / "outputs.npz"
    np.savez(target, outputs=logits, rows=np.arange(len(logits), dtype=np.int64))
    by_name = outputs.kind == "labels" and said.dtype.kind == "U"
    result = {
        "network": {"family": "outputs"},
        "input": None,
        "classes": given or (theirs if by_name else None),
        "class_count": logits.shape[1],
        "parameters": None,
        "macs": None,
        "warnings": [],
    }
    return result, [publish.file(target)]


def _read(assignment: IntakeAssignment) -> tuple[Array, Array | None]:
    """`outputs` and `ids`, memory-mapped."""
    path, work = Path(assignment["sources"]["outputs"]), Path(assignment["work"])
    if sniff.kind_of(path) != "zip":
        _reject("format_not_supported", "Outputs are an npz; write it with numpy.savez.")
    contents = zips.read_directory(path, unsafe_code="archive_unsafe")
    archive.check_expansion(contents, assignment["limits"])
    entries = {entry.name.removesuffix(".npy"): entry for entry in contents.entries}
    if not {"outputs"} <= set(entries) <= {"outputs", "ids"}:
        _reject(
            "npz_keys",
            f"The archive has {', '.join(sorted(entries)[:10]) or 'no arrays'}; name 'outputs', "
            "and 'ids' if the dataset has them.",
        )
    arrays = {name: npz.expand(contents, entry, work) for name, entry in entries.items()}
    return arrays["outputs"], arrays.get("ids")


def _check_shape(found: Array, *, kind: str) -> None:
    if kind == "labels":
        fits, wanted = found.ndim == 1 and found.dtype.kind in "iuU", "(rows,) integers or names"
    else:
        fits, wanted = found.ndim == 2 and found.dtype.kind == "f", "(rows, classes) floats"
    if not fits:
        _reject(
            "outputs_invalid",
            f"'outputs' is {found.dtype} of the shape {list(found.shape)}; {kind} are {wanted}.",
        )


def _order(ids: Array | None, found: Array, sources: dict[str, str]) -> Array | None:
    """Which of the outputs belongs to each of the dataset's rows; None: they are in order."""
    parts = json.loads(Path(sources["splits.json"]).read_bytes())
    count = sum(len(numbers) for numbers in parts.values())
    if len(found) != count or (ids is not None and ids.shape != (count,)):
        told = "" if ids is None else f" and {len(ids) if ids.ndim else 'no'} ids"
        _reject(
            "outputs_rows_differ",
            f"There are {len(found)} outputs{told} for {count} rows; send one for each row of "
            "the source, train, validation and test together.",
        )
    if "ids.npz" not in sources:
        if ids is None:
            return None
        _reject(
            "ids_unknown",
            "The dataset has no ids; leave 'ids' out and keep the order of its source, or send "
            "the dataset with columns.id.",
        )
    if ids is None:
        _reject(
            "ids_missing", "The dataset's rows are known by its ids; send 'ids' beside 'outputs'."
        )
    with np.load(sources["ids.npz"], allow_pickle=False) as ours:
        return _matched(ids, ours["ids"])


def _matched(ids: Array, ours: Array) -> Array:
    if ids.dtype.kind not in "iuU":
        _reject("outputs_invalid", f"'ids' are {ids.dtype}; make them text or integers.")
    position = {str(name): place for place, name in enumerate(_listed(ids))}
    if len(position) != len(ids):
        _reject("ids_not_unique", "'ids' names a row twice; send one output for each.")
    names = [str(name) for name in ours.tolist()]
    missing = [name for name in names if name not in position]
    if missing:
        _reject(
            "ids_unknown",
            f"{len(missing)} of the dataset's ids are not among 'ids', the first of them "
            f"{missing[0][:50]!r}; name each row by the id that it has in the dataset.",
        )
    return np.asarray([position[name] for name in names], np.int64)


def _log_space(said: Array, outputs: Outputs, classes: list[str]) -> Logits:
    """(rows, classes) float32, checked."""
    if outputs.kind == "labels":
        return _of_labels(said, classes)
    if said.shape[1] != len(classes):
        _reject(
            "class_count_differs",
            f"The outputs have {said.shape[1]} columns for {len(classes)} classes; send a column "
            "for each class, and 'classes' if they are not the dataset's.",
        )
    with np.errstate(over="ignore"):
        values = np.asarray(said, np.float32)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        _reject(
            "outputs_not_finite", f"The outputs of row {row} are not finite; compute them anew."
        )
    return values if outputs.kind == "logits" else _of_probabilities(values)


def _of_probabilities(values: Logits) -> Logits:
    sums = values.sum(axis=1, dtype=np.float64)
    wrong = (values < 0).any(axis=1) | (np.abs(sums - 1) > SUM_TOLERANCE)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        _reject(
            "probabilities_invalid",
            f"{int(wrong.sum())} rows are no distributions, the first of them row {row} with the "
            f"sum {sums[row]:.6g}; probabilities are not negative and sum to 1, or say that they "
            "are logits.",
        )
    return np.log(np.maximum(values, np.float32(LEAST_PROBABILITY)))


def _of_labels(said: Array, classes: list[str]) -> Logits:
    names = classes if said.dtype.kind == "U" else range(len(classes))
    known: dict[Any, int] = {name: number for number, name in enumerate(names)}
    found, inverse = np.unique(said, return_inverse=True)
    distinct = _listed(found)
    unknown = [label for label in distinct if label not in known]
    if unknown:
        _reject(
            "label_unknown",
            f"{len(unknown)} labels are no class, such as {str(unknown[0])[:50]!r}; labels are "
            f"numbers from 0 to {len(classes) - 1}, or the names of the classes.",
        )
    numbers = np.asarray([known[label] for label in distinct], np.int64)[inverse]
    logits = np.full((len(said), len(classes)), np.log(LEAST_PROBABILITY), np.float32)
    logits[np.arange(len(said)), numbers] = 0.0
    return logits


def _listed(array: Array) -> list[Any]:
    try:
        return list(array.tolist())
    except (ValueError, SystemError):  # numpy's text holds any 32 bits; Python's doesn't
        _reject("outputs_invalid", "There is text that isn't Unicode; clean it.")


def _reject(code: str, detail: str, *, field: str = "outputs") -> NoReturn:
    raise InputRejected(code, detail, field=field)
