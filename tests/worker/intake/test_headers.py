from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from worker.intake import headers


def pack(table: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def one(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


def test_what_the_library_writes_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {"b.weight": torch.zeros(2, 3), "a": torch.zeros((), dtype=torch.int64)}
    path.write_bytes(save(tensors, {"format": "pt"}))
    header = headers.check(path)
    assert header.shapes == {"b.weight": (2, 3), "a": ()}
    assert header.metadata == {"format": "pt"}


BAD: dict[str, tuple[bytes, str]] = {
    "seven bytes": (b"\x02\0\0\0\0\0\0", "ends before"),
    "a header of 2^63 bytes": (pack({}, length=2**63), "ends before"),
    "a header cut short": (pack(one(), length=10_000), "ends before"),
    "a long header": (pack(b"{}" + b" " * headers.MAX_HEADER_BYTES), "longer"),
    "no JSON": (pack(b"{'w': 1}"), "not JSON"),
    "deep JSON": (pack(b'{"w":' + b"[" * 200_000), "not JSON"),
    "a list": (pack([1]), "not a JSON object"),
    "a key twice": (pack(b'{"w": 1, "w": 2}'), "twice"),
    "no tensors": (pack({}), "0 tensors"),
    "too many tensors": (
        pack({f"w{n}": one(shape=[0], data_offsets=[0, 0])["w"] for n in range(20_001)}),
        "20001 tensors",
    ),
    "metadata that are no strings": (pack({"__metadata__": {"a": 1}} | one()), "strings"),
    "a path for a name": (pack({"../../etc/passwd": one()["w"]}, bytes(8)), "name"),
    "a name of 300": (pack({"w" * 300: one()["w"]}, bytes(8)), "name"),
    "a line break in a name": (pack({"a\nb": one()["w"]}, bytes(8)), "name"),
    "an unknown key": (pack(one(code="x"), bytes(8)), "nothing else"),
    "an unknown dtype": (pack(one(dtype="F8_E4M3"), bytes(8)), "dtype"),
    "a dtype that is a list": (pack(one(dtype=[]), bytes(8)), "dtype"),
    "rank 9": (pack(one(shape=[1] * 8 + [2]), bytes(8)), "8 integers"),
    "a boolean dimension": (pack(one(shape=[True, 2]), bytes(8)), "8 integers"),
    "a negative dimension": (pack(one(shape=[-2]), bytes(8)), "dimension"),
    "a zero beside 2^62": (pack(one(shape=[0, 2**62], data_offsets=[0, 0])), "dimension"),
    "offsets that don't fit": (pack(one(data_offsets=[0, 4]), bytes(4)), "fit its shape"),
    "negative offsets": (pack(one(data_offsets=[-8, 0])), "fit its shape"),
    "data cut short": (pack(one(), bytes(4)), "8 bytes, and 4"),
    "a tail, as in a polyglot": (pack(one(), bytes(8) + b"PK\x05\x06"), "8 bytes, and 12"),
    "a hole": (pack(one(data_offsets=[4, 12]), bytes(12)), "hole"),
    "an overlap": (pack(one() | {"v": one()["w"]}, bytes(8)), "overlap"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_rule_is_named(name: str, tmp_path: Path, refused: Callable[..., Any]) -> None:
    content, said = BAD[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    assert said in refused("safetensors_invalid", lambda: headers.check(path)).detail
