"""Intake in this process: real readers, real files; the sandbox has tests of its own."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from stillhouse.errors import InputRejected
from worker import sandbox
from worker.intake import dataset, teacher
from worker.protocol import File, IntakeAssignment, IntakeLimits

BLOB = {"blob": "0" * 64}
TEACHER = {
    "name": "t",
    "network": {"family": "builtin", "name": "mlp", "options": {"hidden": [6]}},
    "weights": BLOB,
    "input": {"size": [4, 4], "channels": "gray"},
}
Array = npt.NDArray[Any]


class Taken:
    """What an intake gave."""

    def __init__(self, result: dict[str, Any], files: list[File]) -> None:
        self.result = result
        self.files = {file["path"]: Path(file["file"]) for file in files}
        self.listed = {file["path"]: file for file in files}

    def part(self, name: str) -> dict[str, Array]:
        with np.load(self.files[f"{name}.npz"]) as arrays:
            return dict(arrays)


class Intake:
    """Takes in files below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def dataset(self, source: Path | dict[str, Path], /, limits: int = 0, **spec: Any) -> Taken:
        sources = source if isinstance(source, dict) else {"source": source}
        named: Any = dict.fromkeys(sources, BLOB) if isinstance(source, dict) else BLOB
        whole = {"name": "d", "source": named, **spec}
        return Taken(*dataset.take(self._assignment("dataset", whole, sources, limits)))

    def teacher(self, source: Path | dict[str, Path], /, limits: int = 0, **spec: Any) -> Taken:
        sources = source if isinstance(source, dict) else {"weights": source}
        whole = {**TEACHER, **spec}
        if isinstance(source, dict):
            whole["weights"] = {"files": dict.fromkeys(source, "0" * 64)}
        return Taken(*teacher.take(self._assignment("teacher", whole, sources, limits)))

    def _assignment(
        self,
        kind: Literal["teacher", "dataset"],
        spec: dict[str, Any],
        sources: dict[str, Path],
        decoded_bytes: int,
    ) -> IntakeAssignment:
        self._count += 1
        work = self.folder / f"work-{self._count}"
        work.mkdir()
        limits: IntakeLimits = {**sandbox.LIMITS}
        if decoded_bytes:
            limits["decoded_bytes"] = decoded_bytes
        return {
            "type": "intake",
            "kind": kind,
            "spec": spec,
            "sources": {name: str(path) for name, path in sources.items()},
            "work": str(work),
            "limits": limits,
        }


@pytest.fixture
def intake(tmp_path: Path) -> Intake:
    return Intake(tmp_path)


@pytest.fixture
def refused() -> Callable[..., InputRejected]:
    """Calls what must be refused, and gives the refusal, whose code must be the one named."""

    def expect(code: str, call: Callable[[], object]) -> InputRejected:
        with pytest.raises(InputRejected) as caught:
            call()
        assert caught.value.rejected_code == code, caught.value.detail
        assert caught.value.detail.endswith((".", "!")), "a sentence says what to do"
        return caught.value

    return expect


@pytest.fixture
def digits() -> tuple[Array, Array]:
    """60 gray images of 4 x 4 in 3 classes, no two of them equal."""
    generator = np.random.default_rng(0)
    return (
        generator.integers(0, 256, (60, 4, 4), dtype=np.uint8),
        np.arange(60, dtype=np.int64) % 3,
    )


@pytest.fixture
def npz(intake: Intake) -> Callable[..., Path]:
    """Writes an npz of the given arrays."""

    def write(name: str = "data.npz", /, **arrays: Any) -> Path:
        content = io.BytesIO()
        np.savez(content, **arrays)
        return intake.write(name, content.getvalue())

    return write


@pytest.fixture
def folder_zip(intake: Intake) -> Callable[..., Path]:
    """Writes a zip archive of the given files."""

    def write(files: dict[str, bytes], name: str = "images.zip") -> Path:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for path, data in files.items():
                archive.writestr(path, data)
        return intake.write(name, content.getvalue())

    return write


@pytest.fixture
def parquet(intake: Intake) -> Callable[..., Path]:
    """Writes a parquet file of the given columns."""

    def write(columns: dict[str, Any], metadata: dict[str, str] | None = None) -> Path:
        path = intake.folder / "table.parquet"
        table = pa.table(columns)
        pa.parquet.write_table(table.replace_schema_metadata(metadata), path)
        return path

    return write


@pytest.fixture
def jsonl(intake: Intake) -> Callable[..., Path]:
    """Writes objects one a line; text is taken as a line as it is."""

    def write(*rows: Any, name: str = "rows.jsonl") -> Path:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        return intake.write(name, "".join(f"{line}\n" for line in lines).encode("utf-8"))

    return write


@pytest.fixture
def png() -> Callable[..., bytes]:
    """A PNG of one value, or of random pixels from a seed."""

    def make(seed: int = 0, size: tuple[int, int] = (4, 4), mode: str = "L", **save: Any) -> bytes:
        shape = (*size, 3) if mode == "RGB" else size
        pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, **({"format": "PNG"} | save))
        return content.getvalue()

    return make
