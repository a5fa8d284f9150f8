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
from worker.engine import checkpoint, seal, snapshot, train, trial
from worker.engine import state as states
from worker.engine.checkpoint import Past, Saved
from worker.engine.course import Course
from worker.engine.state import State
from worker.engine.train import Result
from worker.protocol import File

pytestmark = pytest.mark.usefixtures("exact")

SGD: dict[str, Any] = {"kind": "sgd", "lr": 0.1}
ADAMW: dict[str, Any] = {"kind": "adamw", "lr": 0.01}
MUON: dict[str, Any] = {"kind": "muon", "lr": 0.01}


def _course(lab: Lab, optimizer: dict[str, Any], **training: Any) -> Course:
    return lab.course(training={"optimizer": optimizer} | training)


def _state(lab: Lab, course: Course, network: dict[str, Any] | None) -> State:
    spec = ResolvedJob.model_validate(lab.spec())
    student = spec.students[0]
    if network:
        changed = lab.spec()["students"][0] | {"network": network}
        student = type(student).model_validate(changed)
    built = trial.build(student, seed=0, classes=10, device=CPU, field="students.0")
    return states.begin(built, course.objective(built, student), recipe=course.recipe)


def _save(path: Path, state: State, *, configuration: str = "same", n: int = 0) -> File:
    saved = Saved(snapshot.take(state), Past(), {"n": n})
    return checkpoint.save(path, saved, configuration=configuration)


def _load(path: Path, state: State, *, configuration: str = "same") -> dict[str, int]:
    saved = checkpoint.load(path, configuration=configuration)
    snapshot.restore(state, saved.snapshot)
    return saved.counters


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
    _save(tmp_path / "c", interrupted, n=3)
    torch.manual_seed(99)

    resumed, afresh = _state(lab, course, network), _course(lab, optimizer)
    assert _load(tmp_path / "c", resumed) == {"n": 3}
    assert resumed.step == step
    again, found = _finish(resumed, afresh)
    assert again == whole
    assert found.history == result.history
    assert safetensors.torch.save(found.weights) == safetensors.torch.save(result.weights)


@pytest.mark.parametrize(
    ("optimizer", "training"),
    [
        (MUON, {}),
        (SGD, {"ema": {"decay": 0.9}}),
        (ADAMW, {"accumulate": 3}),
        (SGD, {"augment": [{"kind": "crop", "padding": 1}, {"kind": "mixup"}], "views": "fresh"}),
        (SGD, {"early_stopping": {"patience": 1}, "epochs": 9}),
        (SGD, {"balance": True}),
    ],
)
def test_every_way_to_train_is_resumed_to_the_same_bytes(
    lab: Lab, tmp_path: Path, optimizer: dict[str, Any], training: dict[str, Any]
) -> None:
    course = _course(lab, optimizer, **training)
    whole, result = _finish(_state(lab, course, RESNET), course)
    interrupted = _state(lab, course, RESNET)
    _stop_at(interrupted, course, 8)
    _save(tmp_path / "c", interrupted)
    torch.manual_seed(99)
    afresh = _course(lab, optimizer, **training)
    resumed = _state(lab, afresh, RESNET)
    _load(tmp_path / "c", resumed)
    again, found = _finish(resumed, afresh)
    assert again == whole
    assert found.history == result.history
    assert safetensors.torch.save(found.weights) == safetensors.torch.save(result.weights)


def test_what_the_stages_before_left_is_kept(lab: Lab, tmp_path: Path) -> None:
    course = _course(lab, SGD)
    state = _state(lab, course, None)
    weights = {"layer.weight": torch.arange(6.0).view(2, 3)}
    past = Past(({"name": "student", "kept": True},), 15, 1.5, 390, weights)
    checkpoint.save(tmp_path / "c", Saved(snapshot.take(state), past, {}), configuration="same")
    found = checkpoint.load(tmp_path / "c", configuration="same").past
    assert (found.stages, found.steps, found.seconds, found.items) == (past.stages, 15, 1.5, 390)
    assert torch.equal(found.weights["layer.weight"], weights["layer.weight"])


def test_without_the_optimizers_moments_the_bytes_differ(lab: Lab, tmp_path: Path) -> None:
    course = _course(lab, SGD)
    whole, _ = _finish(_state(lab, course, None), course)
    interrupted = _state(lab, course, None)
    _stop_at(interrupted, course, 7)
    interrupted.optimizer.state.clear()
    _save(tmp_path / "c", interrupted)
    resumed = _state(lab, course, None)
    _load(tmp_path / "c", resumed)
    again, _ = _finish(resumed, course)
    assert again != whole


def test_the_file_is_hashed_as_it_lies_and_nothing_temporary_is_left(
    lab: Lab, tmp_path: Path
) -> None:
    course = _course(lab, SGD)
    state = _state(lab, course, None)
    _stop_at(state, course, 3)
    path = tmp_path / "checkpoint-3.safetensors"
    file = _save(path, state)
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
    _save(tmp_path / "c", state, configuration="one")
    other = _state(lab, course, None)
    with pytest.raises(RunFailed) as failed:
        _load(tmp_path / "c", other, configuration="another")
    assert failed.value.failure == "checkpoint_unusable"
    assert other.step == 0


@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_checkpoint_is_refused(lab: Lab, tmp_path: Path, damage: str) -> None:
    course = _course(lab, SGD)
    state = _state(lab, course, None)
    path = tmp_path / "c"
    _save(path, state)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    if damage == "gone":
        path.unlink()
    with pytest.raises(RunFailed, match="can't be read"):
        _load(path, state)


def test_a_fingerprint_depends_on_values_not_on_their_order() -> None:
    one = checkpoint.fingerprint({"a": 1, "b": [2, 3]})
    assert one == checkpoint.fingerprint({"b": [2, 3], "a": 1})
    assert one != checkpoint.fingerprint({"a": 1, "b": [3, 2]})
