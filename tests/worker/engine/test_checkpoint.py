from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from stillhouse.errors import RunFailed
from stillhouse.spec import ResolvedJob
from tests.worker.conftest import CPU, RESNET, Lab
from worker.engine import checkpoint, seal, train, trial
from worker.engine import state as states
from worker.engine.course import Course
from worker.engine.objective import Objective
from worker.engine.state import State
from worker.engine.train import Result

pytestmark = pytest.mark.usefixtures("exact")

SGD: dict[str, Any] = {"kind": "sgd", "lr": 0.1}
ADAMW: dict[str, Any] = {"kind": "adamw", "lr": 0.01}


def _course(lab: Lab, optimizer: dict[str, Any]) -> Course:
    return lab.course(training={"optimizer": optimizer})


def _state(lab: Lab, course: Course, network: dict[str, Any] | None) -> State:
    spec = ResolvedJob.model_validate(lab.spec())
    student = spec.students[0]
    if network:
        changed = lab.spec()["students"][0] | {"network": network}
        student = type(student).model_validate(changed)
    built = trial.build(student, seed=0, classes=10, device=CPU, field="students.0")
    return states.begin(built, Objective(course.terms), recipe=course.recipe)


def _finish(state: State, course: Course) -> tuple[bytes, Result]:
    """The last weights, which every step went into, and the result."""
    *_, last = train.distill(state, course=course)
    assert isinstance(last, Result)
    return safetensors.torch.save(state.network.state_dict()), last


def _stop_at(state: State, course: Course, step: int) -> None:
    for _ in train.distill(state, course=course):
        if state.step == step:
            return


@pytest.mark.parametrize("network", [None, RESNET])
@pytest.mark.parametrize("optimizer", [SGD, ADAMW, SGD | {"momentum": 0.0}])
@pytest.mark.parametrize("step", [1, 7, 10, 14])
def test_a_resumed_run_gives_the_bytes_of_an_undisturbed_one(
    lab: Lab, tmp_path: Path, optimizer: dict[str, Any], step: int, network: dict[str, Any] | None
) -> None:
    course = _course(lab, optimizer)
    whole, result = _finish(_state(lab, course, network), course)

    interrupted = _state(lab, course, network)
    _stop_at(interrupted, _course(lab, optimizer), step)
    checkpoint.save(tmp_path / "c", interrupted, configuration="same", counters={"n": 3})
    torch.manual_seed(99)

    resumed, afresh = _state(lab, course, network), _course(lab, optimizer)
    assert checkpoint.load(tmp_path / "c", resumed, configuration="same") == {"n": 3}
    assert resumed.step == step
    again, found = _finish(resumed, afresh)
    assert again == whole
    assert found.history == result.history
    assert safetensors.torch.save(found.weights) == safetensors.torch.save(result.weights)


def test_without_the_optimizers_moments_the_bytes_differ(lab: Lab, tmp_path: Path) -> None:
    course = _course(lab, SGD)
    whole, _ = _finish(_state(lab, course, None), course)
    interrupted = _state(lab, course, None)
    _stop_at(interrupted, course, 7)
    interrupted.optimizer.state.clear()
    checkpoint.save(tmp_path / "c", interrupted, configuration="same", counters={})
    resumed = _state(lab, course, None)
    checkpoint.load(tmp_path / "c", resumed, configuration="same")
    again, _ = _finish(resumed, course)
    assert again != whole


def test_the_file_is_hashed_as_it_lies_and_nothing_temporary_is_left(
    lab: Lab, tmp_path: Path
) -> None:
    course = _course(lab, SGD)
    state = _state(lab, course, None)
    _stop_at(state, course, 3)
    path = tmp_path / "checkpoint-3.safetensors"
    file = checkpoint.save(path, state, configuration="same", counters={})
    assert file == seal.file(path, listed="checkpoint-3.safetensors")
    assert list(tmp_path.glob("*.tmp")) == []
    with safetensors.safe_open(path, framework="pt") as opened:
        header = json.loads(opened.metadata()["state"])
    assert (header["position"]["epoch"], header["position"]["batch"]) == (0, 3)


def test_a_checkpoint_of_another_configuration_is_refused_and_changes_nothing(
    lab: Lab, tmp_path: Path
) -> None:
    course = _course(lab, SGD)
    state = _state(lab, course, None)
    _stop_at(state, course, 3)
    checkpoint.save(tmp_path / "c", state, configuration="one", counters={})
    other = _state(lab, course, None)
    with pytest.raises(RunFailed) as failed:
        checkpoint.load(tmp_path / "c", other, configuration="another")
    assert failed.value.failure == "checkpoint_unusable"
    assert other.step == 0


@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_checkpoint_is_refused(lab: Lab, tmp_path: Path, damage: str) -> None:
    course = _course(lab, SGD)
    state = _state(lab, course, None)
    path = tmp_path / "c"
    checkpoint.save(path, state, configuration="same", counters={})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    if damage == "gone":
        path.unlink()
    with pytest.raises(RunFailed, match="can't be read"):
        checkpoint.load(path, state, configuration="same")


def test_a_fingerprint_depends_on_values_not_on_their_order() -> None:
    one = checkpoint.fingerprint({"a": 1, "b": [2, 3]})
    assert one == checkpoint.fingerprint({"b": [2, 3], "a": 1})
    assert one != checkpoint.fingerprint({"a": 1, "b": [3, 2]})
