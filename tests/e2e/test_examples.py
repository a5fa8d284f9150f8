"""Each example of `examples/`, small, over HTTP, to a downloaded student."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples import run
from stillhouse.client import Client
from tests.servers import Service

ROWS = {"image": 400, "text": 60, "tabular": 60, "sequence": 500}
FILES = {
    "image": {"model.safetensors", "config.json", "model.pt2", "model.onnx"},
    "text": {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"},
    "tabular": {"model.safetensors", "config.json", "model.pt2", "model.onnx"},
    "sequence": {"model.safetensors", "config.json", "model.pt2"},
}


@pytest.fixture(scope="module")
def own_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("service"))
    running.start()
    yield running
    running.stop()


@pytest.mark.parametrize("modality", run.MODALITIES)
def test_an_example_ends_with_a_student_and_its_report(
    own_service: Service, tmp_path: Path, modality: str
) -> None:
    with Client(own_service.url) as client:
        job = run.run(client, modality, tmp_path, rows=ROWS[modality], epochs=2)
    assert job["status"] == "succeeded", job["error"]
    result = job["result"]
    assert {one["against"] for one in result["comparisons"]} == {"no_teacher"}
    assert not any(arm["missing"] for arm in result["arms"])
    assert result["teachers"][0]["test"]["accuracy"] > 0
    kept = {path.name for path in (tmp_path / "student").iterdir()}
    assert FILES[modality] <= kept
    report = json.loads((tmp_path / "student" / "report.json").read_text())
    if "model.onnx" in kept:
        exports = report["student"]["exports"]
        assert exports[0]["parity"]["max_difference"] < 1e-3
        assert exports[0]["parity"]["agreement"] == 1.0
