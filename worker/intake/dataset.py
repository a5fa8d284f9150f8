"""Taking in a dataset: decoded once, split once, stored as one npz a part."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from stillhouse.errors import InputRejected
from stillhouse.spec import DatasetSpec
from worker.intake import (
    archive,
    csvs,
    imagefolder,
    labels,
    npz,
    parquets,
    pictures,
    preview,
    rows,
    sniff,
    splits,
    store,
    tables,
    zips,
)
from worker.intake.rows import Array, Part, Rows
from worker.protocol import File, IntakeAssignment, IntakeLimits

_INSTEAD = "send npz, an archive of folders (zip or tar), parquet or csv"
Indices = npt.NDArray[np.int64]


def take(assignment: IntakeAssignment) -> tuple[dict[str, Any], list[File]]:
    """Take in one dataset: the message's result, an npz for each part with rows, splits.json.

    What can't be taken is refused as `InputRejected`, with the code of what is wrong.
    """
    spec = DatasetSpec.model_validate(assignment["spec"])
    work, limits = Path(assignment["work"]), assignment["limits"]
    if spec.columns.label is None:
        raise tables.labels_missing()
    found = _read_sources(assignment["sources"], work, spec, limits)
    indices, classes = labels.index(found, spec.classes)
    split = splits.split(indices, found.parts, found.given, spec.splits)
    plan = pictures.plan(found.images, spec.input)
    pixels = pictures.decode(found.images, plan, work, limits)
    files, hashes = _write(work, pixels, indices, split)
    counts = {
        part: np.bincount(indices[numbers], minlength=len(classes)).tolist()
        for part, numbers in split.items()
    }
    result = {
        "classes": classes,
        "classes_unnamed": labels.are_unnamed(found) and spec.classes is None,
        "rows": {part: len(split.get(part, ())) for part in rows.PARTS} | {"unlabelled": 0},
        "class_counts": {part: counts.get(part, [0] * len(classes)) for part in rows.PARTS},
        "duplicates": {"across_parts": store.count_shared(hashes)},
        "format": _format(Path(next(iter(assignment["sources"].values())))),
        "input": _input(spec, plan),
        "dtype": plan.dtype.name,
        "bytes": sum(file["bytes"] for file in files.values()),
        "fingerprint": store.fingerprint(files, classes),
        "preview": preview.make(pixels, indices, classes, split["train"]),
        "warnings": _warnings(counts, classes),
    }
    listed = store.write_json(
        work / "splits.json", {part: split.get(part, np.empty(0)).tolist() for part in rows.PARTS}
    )
    return result, [*files.values(), listed]


def _read_sources(
    sources: dict[str, str], work: Path, spec: DatasetSpec, limits: IntakeLimits
) -> Rows:
    if "source" in sources:
        return _read(Path(sources["source"]), work, spec, limits)
    if spec.splits.column is not None:
        raise InputRejected(
            "split_conflicts",
            "There is a source for each part already; leave splits.column out.",
            field="splits.column",
        )
    found: dict[Part, Rows] = {}
    for part, path in sources.items():
        own = work / part  # Two sources may expand to files of the same name.
        own.mkdir()
        found[cast("Part", part)] = _read(Path(path), own, spec, limits)
    return rows.joined(found)


def _read(path: Path, work: Path, spec: DatasetSpec, limits: IntakeLimits) -> Rows:
    kind = _format(path)
    if spec.format not in ("auto", kind):
        raise InputRejected(
            "format_differs",
            f"The bytes are {kind}, not {spec.format}; send the other file, or set format to "
            "'auto'.",
            field="format",
        )
    if spec.splits.column is not None and kind not in ("parquet", "csv"):
        raise InputRejected(
            "split_conflicts",
            f"{kind} has no columns; leave splits.column out.",
            field="splits.column",
        )
    match kind:
        case "npz":
            return npz.read(path, work, limits)
        case "imagefolder":
            return imagefolder.read(path, work, limits)
        case "parquet":
            return parquets.read(path, work, spec, limits)
        case _:
            return csvs.read(path, work, spec, limits)


def _format(path: Path) -> str:
    """The format, in the specification's words."""
    if path.is_dir():
        raise InputRejected("format_not_supported", "This is a folder; pack it as a tar or zip.")
    match sniff.kind_of(path):
        case "zip":
            return (
                "npz"
                if _holds_arrays(zips.read_directory(path, unsafe_code="archive_unsafe"))
                else "imagefolder"
            )
        case "tar" | "gzip":
            return "imagefolder"
        case "parquet":
            return "parquet"
        case "text":
            return "csv"
        case "empty":
            raise InputRejected("dataset_empty", f"The file is empty; {_INSTEAD}.")
        case _:
            raise InputRejected("format_not_supported", f"The format is not known; {_INSTEAD}.")


def _holds_arrays(contents: archive.Archive) -> bool:
    return any(entry.name.endswith(".npy") for entry in contents.entries)


def _write(
    work: Path, pixels: Array, indices: Indices, split: dict[Part, Indices]
) -> tuple[dict[Part, File], dict[Part, store.Hashes]]:
    files: dict[Part, File] = {}
    hashes: dict[Part, store.Hashes] = {}
    for part, numbers in split.items():
        files[part], hashes[part] = store.write_part(work / f"{part}.npz", pixels, indices, numbers)
    return files, hashes


def _input(spec: DatasetSpec, plan: pictures.Plan) -> dict[str, Any]:
    """The dataset's input: its pixels' size and channels, and statistics that were given."""
    said = {} if spec.input is None else spec.input.model_dump(mode="json", exclude_unset=True)
    settled = {"size": list(plan.size), "channels": "gray" if plan.channels == 1 else "rgb"}
    return said | settled


def _warnings(counts: dict[Part, list[int]], classes: list[str]) -> list[dict[str, str]]:
    empty = [name for name, count in zip(classes, counts["train"], strict=True) if not count]
    if not empty:
        return []
    named = ", ".join(name[:50] for name in empty[:5])
    return [{
        "code": "classes_without_rows",
        "message": f"{len(empty)} classes have no train rows ({named}); no student can learn them.",
    }]  # fmt: skip
