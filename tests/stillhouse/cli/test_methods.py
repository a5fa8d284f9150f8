from __future__ import annotations

import json

from stillhouse.spec.methods import METHODS
from tests.stillhouse.cli.conftest import run
from tests.stillhouse.conftest import Script


def test_all_objectives_are_listed_without_a_service(script: Script) -> None:
    lines = run(script, "methods").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [method.kind for method in METHODS]
    found = json.loads(run(script, "methods", "--json").stdout)
    assert found == [method.describe() for method in METHODS]
    assert script.requests == []


def test_one_objective_is_explained_with_its_defaults(script: Script) -> None:
    lines = run(script, "methods", "soft_targets").stdout.splitlines()
    assert lines[0].startswith("soft_targets: Match the teacher's softened class distribution")
    assert "default   temperature = 4.0" in lines
    assert "default   standardize = false" in lines
    assert not [line for line in lines if "kind" in line]
    found = json.loads(run(script, "methods", "soft_targets", "--json").stdout)
    assert found["kind"] == "soft_targets"


def test_an_unknown_objective_is_wrong_usage_and_named_beside_the_known(script: Script) -> None:
    done = run(script, "methods", "soft_target")
    assert done.returncode == 2
    assert "'soft_target' is none of" in done.stderr
    assert "virtual_teacher" in done.stderr
