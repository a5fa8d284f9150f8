from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from stillhouse.errors import InputRejected
from stillhouse.spec import ResolvedJob
from tests.worker.conftest import INPUT, MLP, RESNET, Lab
from tests.worker.engine.test_train_run import Ear
from worker.engine import stages, train_run
from worker.engine.checkpoint import Past
from worker.engine.state import State
from worker.protocol import Assignment

pytestmark = pytest.mark.usefixtures("exact")

SHA = "a" * 64
GIVEN = {"kind": "given", "weights": {"blob": SHA}}


def _assignment(lab: Lab, init: dict[str, Any], **changes: Any) -> Assignment:
    student = {"name": "small", "network": RESNET, "input": INPUT, "init": init}
    spec = lab.spec(students=[student], **changes.pop("spec", {}))
    return lab.assignment(spec=spec, teachers=[lab.teacher(RESNET)], **changes)


def _begin(assignment: Assignment) -> State:
    spec = ResolvedJob.model_validate(assignment["spec"])
    arm = assignment["arm"] or ""
    base = stages.course_of(assignment, spec, spec.students[0], seed=0, arm=arm)
    (stage,) = stages.plan(spec, spec.students[0], arm=arm, field="students.0")
    state, _ = stages.begin(stage, base, files=assignment["files"], past=Past())
    return state


def _weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("arm", ["distilled", "no_teacher"])
def test_a_student_begins_at_the_weights_that_were_given(
    lab: Lab, tmp_path: Path, arm: str
) -> None:
    given = lab.network(RESNET, seed=5)
    safetensors.torch.save_file(given.state_dict(), tmp_path / "w")
    state = _begin(_assignment(lab, GIVEN, files={SHA: str(tmp_path / "w")}, arm=arm))
    assert _same(_weights(state.network), _weights(given))


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "init_weights_missing"), (b"PK\x03\x04 no", "init_unreadable"), (MLP, "init_mismatch")],
)
def test_given_weights_that_do_not_fit_are_refused(
    lab: Lab, tmp_path: Path, content: bytes | dict[str, Any] | None, code: str
) -> None:
    path = tmp_path / "w"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        safetensors.torch.save_file(lab.network(content).state_dict(), path)
    files = {} if content is None else {SHA: str(path)}
    with pytest.raises(InputRejected) as refused:
        _begin(_assignment(lab, GIVEN, files=files))
    assert refused.value.rejected_code == code
    assert refused.value.field == "students.0.init.weights"
    if code == "init_mismatch":
        tensors: Any = refused.value.extra["tensors"]
        assert "conv1.weight" in tensors["missing"]


def test_a_student_begins_at_its_teachers_weights_and_the_control_does_not(lab: Lab) -> None:
    init = {"kind": "from_teacher"}
    distilled = _begin(_assignment(lab, init))
    control = _begin(_assignment(lab, init, arm="no_teacher"))
    teacher = safetensors.torch.load_file(str(lab.teacher(RESNET)["weights"]))
    assert _same(teacher, _weights(distilled.network))
    assert _same(_weights(lab.network(RESNET)), _weights(control.network))
    assert distilled.hold is None


def test_the_teacher_is_there_though_no_term_needs_it(lab: Lab) -> None:
    labels = {"objective": [{"kind": "labels"}]}
    state = _begin(_assignment(lab, {"kind": "from_teacher"}, spec=labels))
    teacher = safetensors.torch.load_file(str(lab.teacher(RESNET)["weights"]))
    assert _same(teacher, _weights(state.network))


def test_held_tensors_come_through_a_run_as_they_were(lab: Lab) -> None:
    init = {"kind": "from_teacher", "hold": ["conv1.*", "layer1.*"]}
    training = {"epochs": 1, "ema": {"decay": 0.9}, "clip_norm": 1.0}
    assignment = _assignment(lab, init, spec={"training": training})
    result, listing = train_run.make(assignment, say=Ear())
    served = safetensors.torch.load_file(dict(listing)["model.safetensors"])
    teacher = safetensors.torch.load_file(str(lab.teacher(RESNET)["weights"]))
    held = [name for name in served if name.startswith(("conv1.", "layer1."))]
    assert len(held) > 3
    for name in held:
        assert torch.equal(served[name], teacher[name]), name
    assert not torch.equal(served["fc.weight"], teacher["fc.weight"])
    assert result["parameter_ratio"]["lambda"] == pytest.approx(1, abs=0.2)


def test_statistics_are_estimated_from_the_train_part_if_asked(lab: Lab) -> None:
    scaled = _begin(_assignment(lab, {"kind": "from_teacher"}))
    estimated = _begin(_assignment(lab, {"kind": "from_teacher", "statistics": "estimate"}))
    ours, theirs = _weights(scaled.network), _weights(estimated.network)
    assert torch.equal(ours["conv1.weight"], theirs["conv1.weight"])
    assert not torch.equal(ours["bn1.running_mean"], theirs["bn1.running_mean"])
