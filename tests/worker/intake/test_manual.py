"""The examples of docs/inputs.md: each script's file is taken in by the specification below it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MANUAL = (Path(__file__).resolve().parents[3] / "docs/inputs.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"```python\n((?:(?!```).)*)```\n\n```json\n(.*?)```", re.DOTALL)
EXAMPLES = {
    json.loads(spec)["name"]: (script, json.loads(spec)) for script, spec in EXAMPLE.findall(MANUAL)
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all scripts have run."""
    folder: Path = tmp_path_factory.mktemp("manual")
    whole = "\n".join(script for script, _ in EXAMPLES.values())
    subprocess.run([sys.executable, "-c", whole], cwd=folder, check=True)
    return folder


def test_there_is_an_example_for_each_modality() -> None:
    modalities = {spec.get("modality", "image") for _, spec in EXAMPLES.values()}
    assert modalities == {"image", "text", "tabular", "sequence"}
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_manuals_examples_are_taken_in(name: str, written: Path, intake: Any) -> None:
    spec = dict(EXAMPLES[name][1])
    source = written / spec.pop("source")["blob"].removeprefix("@")
    rows = intake.dataset(source, **spec).result["rows"]
    assert sum(rows.values()) in {40, 60}
    assert bool(rows["unlabelled"]) == (name == "more texts")
