"""The header of a safetensors file, checked by our own rules before any library reads it.

The library accepts duplicate keys, rank 10,000, 10^6 tensors in 66 MB and names that are
paths; each is refused here, and so is a byte that belongs to no tensor.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.errors import InputRejected

MAX_HEADER_BYTES = 16 << 20
MAX_TENSORS = 20_000
MAX_RANK = 8
MAX_DIMENSION = 1 << 31
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/\- ]{0,255}")
_METADATA = "__metadata__"


class _Broken(Exception):
    """A rule that the header breaks."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says of itself."""

    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]


def check(path: Path) -> Header:
    """Read and check a header.

    Args:
        path: a file that should be safetensors.

    Returns:
        Its names, shapes and metadata.

    Raises:
        InputRejected: `safetensors_invalid`, with the rule that is broken.
    """
    try:
        return _check(path)
    except _Broken as broken:
        raise InputRejected(
            "safetensors_invalid",
            f"This is not a sound safetensors file: {broken}; write it again with "
            "safetensors.torch.save_file.",
        ) from broken


def _check(path: Path) -> Header:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise _Broken("the file ends before its header does")
        if length > MAX_HEADER_BYTES:
            raise _Broken(f"the header is longer than {MAX_HEADER_BYTES} bytes")
        table = _parse(file.read(length))
    metadata = table.pop(_METADATA, {})
    if not _is_metadata(metadata):
        raise _Broken("__metadata__ may hold strings only")
    if not 0 < len(table) <= MAX_TENSORS:
        raise _Broken(f"it has {len(table)} tensors; 1 to {MAX_TENSORS} are allowed")
    spans = sorted(_span(name, tensor) for name, tensor in table.items())
    _check_that_they_fill(spans, size - 8 - length)
    return Header({name: tuple(tensor["shape"]) for name, tensor in table.items()}, metadata)


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        table = json.loads(raw, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise _Broken("the header is not JSON") from error
    if not isinstance(table, dict):
        raise _Broken("the header is not a JSON object")
    return table


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise _Broken("the header has a key twice")
    return table


def _is_metadata(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _span(name: str, tensor: Any) -> tuple[int, int, str]:
    """Where a tensor's bytes start and end, after its description was checked."""
    shown = repr(name[:100])
    if not _NAME.fullmatch(name):
        raise _Broken(f"the name {shown} is not a tensor's name")
    if not isinstance(tensor, dict) or tensor.keys() != {"dtype", "shape", "data_offsets"}:
        raise _Broken(f"{shown} needs dtype, shape and data_offsets, and nothing else")
    item_bytes = ITEM_BYTES.get(tensor["dtype"]) if isinstance(tensor["dtype"], str) else None
    if item_bytes is None:
        raise _Broken(f"{shown} has a dtype that is not one of {', '.join(ITEM_BYTES)}")
    shape, offsets = tensor["shape"], tensor["data_offsets"]
    if not _are_integers(shape) or len(shape) > MAX_RANK:
        raise _Broken(f"{shown} has a shape that is not at most {MAX_RANK} integers")
    if any(not 0 <= dimension <= MAX_DIMENSION for dimension in shape):
        raise _Broken(f"{shown} has a dimension outside 0 … {MAX_DIMENSION}")
    if not _are_integers(offsets) or len(offsets) != 2:
        raise _Broken(f"{shown} has offsets that are not two integers")
    start, end = offsets
    if end - start != math.prod(shape) * item_bytes or start < 0:
        raise _Broken(f"{shown} has offsets that don't fit its shape")
    return start, end, name


def _are_integers(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _check_that_they_fill(spans: list[tuple[int, int, str]], size: int) -> None:
    free = 0
    for start, end, name in spans:
        if start != free:
            raise _Broken(f"there is a hole or an overlap before {name[:100]!r}")
        free = end
    if free != size:
        raise _Broken(f"the tensors take {free} bytes, and {size} are there")
