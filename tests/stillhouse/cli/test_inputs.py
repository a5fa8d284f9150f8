from __future__ import annotations

import json
from pathlib import Path

from tests.stillhouse.cli.conftest import TEACHER, run
from tests.stillhouse.conftest import Script, as_json

DATASET = "ds_01jd0000000000000000000000"
SPLITS = {"train": [0, 3, 4], "validation": [1], "test": [2]}
CREATED = {"created_at": "2026-01-02T03:04:05.678Z"}


def test_teachers_are_listed(script: Script) -> None:
    network = {"family": "timm", "name": "resnet18"}
    ready = {"id": TEACHER, "status": "ready", "network": network, "parameters": 11_000_000}
    bad = {"id": "tch_2", "status": "rejected", "network": None, "parameters": None, "name": "b"}
    found = [ready | CREATED | {"name": "a"}, bad | CREATED]
    script.on("/v1/teachers", as_json({"data": found, "has_more": False}))
    lines = run(script, "teachers").stdout.splitlines()
    assert lines[1].split() == [
        TEACHER, "ready", "timm/resnet18", "11,000,000", "2026-01-02", "03:04", "a",
    ]  # fmt: skip
    assert lines[2].split() == ["tch_2", "rejected", "2026-01-02", "03:04", "b"]
    assert json.loads(run(script, "teachers", "--limit", "1", "--json").stdout) == found[:1]


def test_datasets_are_listed(script: Script) -> None:
    rows = {"train": 1257, "validation": 180, "test": 360, "unlabelled": 0}
    ready = {"id": DATASET, "status": "ready", "rows": rows, "classes": ["a", "b"], "name": "d"}
    new = {"id": "ds_2", "status": "validating", "rows": None, "classes": None, "name": "e"}
    page = {"data": [ready | CREATED, new | CREATED], "has_more": False}
    script.on("/v1/datasets", as_json(page))
    lines = run(script, "datasets").stdout.splitlines()
    said = " ".join(lines[1].split())
    assert said == f"{DATASET} ready 1,257 train, 180 validation, 360 test 2 2026-01-02 03:04 d"
    assert lines[2].split() == ["ds_2", "validating", "2026-01-02", "03:04", "e"]


def test_a_split_is_printed_or_written_as_json(script: Script, tmp_path: Path) -> None:
    script.on(f"/v1/datasets/{DATASET}/splits", as_json(SPLITS))
    assert json.loads(run(script, "splits", DATASET).stdout) == SPLITS
    done = run(script, "splits", DATASET, "-o", str(tmp_path / "splits.json"))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{tmp_path / 'splits.json'}: 3 train, 1 validation, 1 test\n"
    assert json.loads((tmp_path / "splits.json").read_text()) == SPLITS


def test_a_split_that_cannot_be_written_ends_with_2(script: Script, tmp_path: Path) -> None:
    script.on(f"/v1/datasets/{DATASET}/splits", as_json(SPLITS))
    place = tmp_path / "nowhere" / "splits.json"
    done = run(script, "splits", DATASET, "-o", str(place))
    assert (done.returncode, done.stderr) == (
        2, f"error: '{place}': No such file or directory.\n",
    )  # fmt: skip
