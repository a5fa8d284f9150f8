"""Which format a dataset's file is of, told from its bytes, and its reader."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from stillhouse.errors import InputRejected
from stillhouse.spec import DatasetSpec, Modality
from worker.intake import archive, csvs, imagefolder, jsonl, npz, parquets, sniff, zips
from worker.intake.rows import Rows
from worker.protocol import IntakeLimits

Format = Literal["npz", "imagefolder", "parquet", "csv", "jsonl"]

_INSTEAD = "send npz, an archive of folders (zip or tar), parquet, csv or jsonl"
_WITH_COLUMNS = ("parquet", "csv", "jsonl")
_OF: dict[Modality, tuple[Format, ...]] = {
    "image": ("npz", "imagefolder", "parquet", "csv"),
    "text": ("parquet", "csv", "jsonl"),
    "tabular": ("npz", "parquet", "csv", "jsonl"),
    "sequence": ("npz", "parquet", "csv", "jsonl"),
}
_READERS = {
    "npz": npz.read,
    "imagefolder": imagefolder.read,
    "parquet": parquets.read,
    "csv": csvs.read,
    "jsonl": jsonl.read,
}


def read(path: Path, work: Path, spec: DatasetSpec, limits: IntakeLimits) -> Rows:
    """The rows of one file.

    Args:
        path: the user's file.
        work: where what must be expanded lies.
        spec: the dataset's.
        limits: what it may use.

    Returns:
        Its rows, in its order.

    Raises:
        InputRejected: `format_not_supported`, `format_differs`, `format_not_for_modality`,
            `split_conflicts`, or what the format's reader says.
    """
    kind = of(path, spec)
    if spec.format not in ("auto", kind):
        raise InputRejected(
            "format_differs",
            f"The bytes are {kind}, not {spec.format}; send the other file, or set format to "
            "'auto'.",
            field="format",
        )
    if kind not in _OF[spec.modality]:
        raise InputRejected(
            "format_not_for_modality",
            f"{kind} holds no data of the modality '{spec.modality}'; send "
            f"{', '.join(_OF[spec.modality])}, or name another modality.",
            field="modality",
            allowed=[name for name in get_args(Modality) if kind in _OF[name]],
        )
    if spec.splits.column is not None and kind not in _WITH_COLUMNS:
        raise InputRejected(
            "split_conflicts",
            f"{kind} has no columns; leave splits.column out.",
            field="splits.column",
        )
    return _READERS[kind](path, work, spec, limits)


def of(path: Path, spec: DatasetSpec) -> Format:
    """The format, in the specification's words; of two kinds of text it may say which one it is.

    Raises `InputRejected`: `format_not_supported`, `dataset_empty`.
    """
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
        case "objects" | "text" | "unknown" if spec.format in ("csv", "jsonl"):
            return spec.format  # Its reader says which line is no text.
        case "objects":
            return "jsonl"
        case "text":
            return "csv"
        case "empty":
            raise InputRejected("dataset_empty", f"The file is empty; {_INSTEAD}.")
        case _:
            raise InputRejected(
                "format_not_supported",
                f"The format is not known (text must be UTF-8); {_INSTEAD}.",
            )


def _holds_arrays(contents: archive.Archive) -> bool:
    return any(entry.name.endswith(".npy") for entry in contents.entries)
