"""Taking in a dataset: decoded once, split once, stored as one npz a part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from stillhouse.errors import InputRejected
from stillhouse.spec import DatasetSpec, InputSpec, SequenceInput, TableInput, TextInput
from worker.intake import (
    columns,
    findings,
    formats,
    labels,
    pictures,
    preview,
    rows,
    series,
    splits,
    store,
    texts,
)
from worker.intake.rows import Block, Decoded, Encoded, Indices, Part, Pixels, Rows
from worker.protocol import File, IntakeAssignment, IntakeLimits

T = TypeVar("T")


def take(assignment: IntakeAssignment) -> tuple[dict[str, Any], list[File]]:
    """Take in one dataset: the message's result, and what is to be published.

    An npz for each part with rows, splits.json, and ids.npz where there is an id column. A set
    without labels is one part, `train`, whose rows count as `unlabelled`. What can't be taken is
    refused as `InputRejected`, with the code of what is wrong.
    """
    spec = DatasetSpec.model_validate(assignment["spec"])
    work, limits = Path(assignment["work"]), assignment["limits"]
    found = _read_sources(assignment["sources"], work, spec, limits)
    indices, classes = labels.index(found, spec.classes)
    split = _split(found, indices, spec)
    items, given = _decode(found.blocks, spec, split["train"], work, limits)
    files: dict[Part, File] = {}
    hashes: dict[Part, store.Hashes] = {}
    for part, numbers in split.items():
        path = work / f"{part}.npz"
        files[part], hashes[part] = store.write_part(path, items, indices, numbers)
    listed = _side_files(work, found, split)
    counts = findings.class_counts(indices, split, classes)
    result = {
        "classes": classes,
        "classes_unnamed": labels.are_unnamed(found) and spec.classes is None,
        "rows": findings.row_counts(split, is_labelled=found.labels is not None),
        "class_counts": counts,
        "duplicates": {"across_parts": store.count_shared(hashes)},
        "format": formats.of(Path(next(iter(assignment["sources"].values()))), spec),
        "input": given,
        "dtype": items.x.dtype.name,
        "bytes": sum(file["bytes"] for file in files.values()),
        "fingerprint": store.fingerprint(files, classes, given.get("columns")),
        "preview": preview.make(items, indices, classes, split["train"], given),
        "warnings": findings.warnings(counts["train"], classes),
    }
    return result, [*files.values(), *listed]


def _read_sources(
    sources: dict[str, str], work: Path, spec: DatasetSpec, limits: IntakeLimits
) -> Rows:
    if "source" in sources:
        return formats.read(Path(sources["source"]), work, spec, limits)
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
        found[cast("Part", part)] = formats.read(Path(path), own, spec, limits)
    return rows.joined(found)


def _split(found: Rows, indices: Indices, spec: DatasetSpec) -> dict[Part, Indices]:
    if found.labels is not None:
        return splits.split(indices, found.parts, found.given, spec.splits)
    if found.given or spec.splits.validation or spec.splits.test:
        raise InputRejected(
            "split_conflicts",
            "A set without labels (columns.label is null) is for training alone: send one source "
            "without parts, and leave the splits out.",
            field="splits",
        )
    return {"train": np.arange(len(indices), dtype=np.int64)}


def _decode(
    blocks: Sequence[Block], spec: DatasetSpec, train: Indices, work: Path, limits: IntakeLimits
) -> tuple[Decoded, dict[str, Any]]:
    """The items as they are stored, and the dataset's input."""
    wanted = spec.input
    match spec.modality:
        case "text":
            said = wanted if isinstance(wanted, TextInput) else None
            return texts.take(_only(blocks, rows.Texts), said, work, limits)
        case "tabular":
            table = wanted if isinstance(wanted, TableInput) else None
            return columns.take(_only(blocks, rows.Table), table, train, work, limits)
        case "sequence":
            shape = wanted if isinstance(wanted, SequenceInput) else None
            return series.take(_only(blocks, rows.Series), shape, train, work, limits)
        case "image":
            size = wanted if isinstance(wanted, InputSpec) else None
            images = [block for block in blocks if isinstance(block, Pixels | Encoded)]
            return pictures.take(images, size, work, limits)


def _only(blocks: Sequence[Block], kind: type[T]) -> list[T]:
    return [block for block in blocks if isinstance(block, kind)]


def _side_files(work: Path, found: Rows, split: dict[Part, Indices]) -> list[File]:
    numbers: dict[str, object] = {
        part: split[part].tolist() if part in split else [] for part in rows.PARTS
    }
    written = [store.write_json(work / "splits.json", numbers)]
    if found.ids is not None:
        findings.check_unique(found.ids)
        written.append(store.write_ids(work / "ids.npz", found.ids))
    return written
