from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from stillhouse.spec import InputSpec, NetworkSpec
from tests.stillhouse.cli.conftest import command
from worker.engine import networks
from worker.engine.serving import onnx_export, student_folder

GRAY = InputSpec(size=(8, 8), channels="gray")
CLASSES = ["0", "1", "2"]


def _student(folder: Path, family: Any, name: str, *, onnx: bool) -> Path:
    spec = NetworkSpec(family=family, name=name)
    torch.manual_seed(0)
    network = networks.build(spec, classes=3, fed=GRAY)
    student_folder.write(folder, network, spec=spec, input=GRAY, classes=CLASSES)
    if onnx:
        onnx_export.write(folder, network, fed=GRAY)
    return folder


def _bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("bench", str(folder), *words),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_pulled_student_is_timed_in_each_runtime_that_can_load_it(tmp_path: Path) -> None:
    done = _bench(
        _student(tmp_path / "s", "timm", "resnet10t", onnx=True), "--threads", "1", "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(one["runtime"].split()[0], one["batch"]) for one in found] == [
        ("onnxruntime", 1), ("onnxruntime", 64), ("torch", 1), ("torch", 64),
    ]  # fmt: skip
    for one in found:
        assert 0 < one["median_ms"] <= one["p95_ms"]
        assert one["runs"] >= 30
        assert one["threads"] == 1
    assert found[1]["median_ms"] > found[0]["median_ms"]


def test_a_builtin_student_is_timed_by_its_export_and_shown_as_a_table(tmp_path: Path) -> None:
    done = _bench(_student(tmp_path / "s", "builtin", "mlp", onnx=True))
    titles, single, many = done.stdout.splitlines()
    assert titles.split()[:3] == ["runtime", "threads", "batch"]
    assert single.startswith("onnxruntime ")
    assert many.startswith("onnxruntime ")


@pytest.mark.parametrize("kind", ["builtin without an export", "no folder", "not JSON"])
def test_what_can_not_be_measured_is_said_with_a_remedy(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "s"
    if kind == "builtin without an export":
        _student(folder, "builtin", "mlp", onnx=False)
    elif kind == "not JSON":
        folder.mkdir()
        (folder / "config.json").write_text("{")
    done = _bench(folder)
    assert done.returncode == 2
    assert ("exports" if kind.startswith("builtin") else "pull") in done.stderr
    assert "Traceback" not in done.stderr
