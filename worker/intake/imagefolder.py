"""An archive of images in folders: `class/file`, or `part/class/file`; unlabelled, in any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stillhouse.errors import InputRejected
from stillhouse.spec import DatasetSpec
from worker.intake import archive, sniff, tars, zips
from worker.intake.rows import PARTS, SPELLINGS, Encoded, Part, Rows, all_train
from worker.protocol import IntakeLimits

MAX_FILE_BYTES = 64 << 20
_LITTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


def read(path: Path, work: Path, spec: DatasetSpec, limits: IntakeLimits) -> Rows:
    """The rows of a zip or tar archive of images: by part, then by the bytes of their paths.

    A compressed tar is expanded in the work folder first.
    """
    if spec.columns.id is not None:
        raise InputRejected(
            "column_missing",
            "An archive has no columns; leave columns.id out, and rows go by their order.",
            field="columns.id",
        )
    contents = _open(path, work, limits)
    archive.check_expansion(contents, limits)
    files = _by_place(contents)
    if not files:
        raise InputRejected("dataset_empty", "The archive has no files; send class/file.")
    if spec.columns.label is None:
        return _unlabelled(contents, files)
    depths = Counter(map(len, files))
    rarest = min(depths, key=lambda depth: (depth in (2, 3), depths[depth]))
    if len(depths) > 1 or rarest not in (2, 3):
        raise _layout("/".join(next(place for place in files if len(place) == rarest)))
    parts = [_part(place) if rarest == 3 else "train" for place in files]
    places = list(files)
    order = sorted(
        range(len(places)),
        key=lambda at: (PARTS.index(parts[at]), "/".join(places[at]).encode()),
    )
    return _rows(contents, files, parts, order, has_parts=rarest == 3)


def _open(path: Path, work: Path, limits: IntakeLimits) -> archive.Archive:
    kind = sniff.kind_of(path)
    if kind == "zip":
        return zips.read_directory(path, unsafe_code="archive_unsafe")
    if kind == "gzip":
        inflated = work / f"inflated-{path.name}.tar"
        tars.inflate(path, inflated, limits)
        path = inflated
    return tars.read_directory(path)


def _by_place(contents: archive.Archive) -> dict[tuple[str, ...], archive.Entry]:
    """Files by the parts of their path, below the one folder that wraps them all, if any."""
    files = {
        tuple(entry.name.split("/")): entry
        for entry in contents.entries
        if not any(part.startswith(".") or part in _LITTER for part in entry.name.split("/"))
    }
    tops = {place[0] for place in files}
    wrapped = len(tops) == 1 and tops.isdisjoint(SPELLINGS) and min(map(len, files)) > 2
    return {place[1:]: entry for place, entry in files.items()} if wrapped else files


def _part(place: tuple[str, ...]) -> Part:
    part = SPELLINGS.get(place[0])
    if part is None:
        raise _layout("/".join(place))
    return part


def _rows(
    contents: archive.Archive,
    files: dict[tuple[str, ...], archive.Entry],
    parts: list[Part],
    order: list[int],
    *,
    has_parts: bool,
) -> Rows:
    places, entries = list(files), list(files.values())
    codes = np.asarray([PARTS.index(parts[at]) for at in order], np.int8)
    return Rows(
        blocks=(_images(contents, [entries[at] for at in order]),),
        labels=np.asarray([places[at][-2] for at in order], dtype=np.str_),
        parts=codes if has_parts else all_train(len(order)),
        given=frozenset(parts) if has_parts else frozenset(),
    )


def _unlabelled(contents: archive.Archive, files: dict[tuple[str, ...], archive.Entry]) -> Rows:
    ordered = [files[place] for place in sorted(files, key=lambda place: "/".join(place).encode())]
    return Rows((_images(contents, ordered),), None, all_train(len(ordered)), frozenset())


def _images(contents: archive.Archive, ordered: list[archive.Entry]) -> Encoded:
    large = next((entry for entry in ordered if entry.bytes > MAX_FILE_BYTES), None)
    if large is not None:
        raise InputRejected(
            "image_too_large", f"'{large.name}' has {large.bytes} bytes; send smaller images."
        )

    def contents_in_order() -> Iterator[bytes]:
        for entry in ordered:
            yield archive.read(contents, entry)

    return Encoded(tuple(entry.name for entry in ordered), contents_in_order)


def _layout(name: str) -> InputRejected:
    return InputRejected(
        "imagefolder_layout",
        f"'{name[:200]}' is not at class/file, nor at train/class/file (or validation, test); "
        "all files lie at the same depth.",
    )
