"""The trainer as a supervisor has it: a process, two pipes and a signal."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.conftest import Lab
from worker.protocol import MESSAGE_FD_VARIABLE, Assignment, Message

PATIENCE_SECONDS = 60
ROOT = Path(__file__).parents[2]
LONG: dict[str, Any] = {"epochs": 150, "views": "fresh"}


class Child:
    """A trainer process."""

    def __init__(self, log: Path) -> None:
        self._messages, theirs = os.pipe()
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.trainer"],
                cwd=ROOT,
                env=os.environ | {MESSAGE_FD_VARIABLE: str(theirs), "OMP_NUM_THREADS": "1"},
                pass_fds=(theirs,),
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
            )
        os.close(theirs)
        self._rest = b""

    def tell(self, order: Assignment | dict[str, str]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> Message:
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._messages], [], [], PATIENCE_SECONDS)
            assert ready, "the trainer says nothing"
            more = os.read(self._messages, 65536)
            assert more, "the trainer is gone"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        message: Message = json.loads(line)
        return message

    def hear_until(self, *kinds: str) -> list[Message]:
        heard = [self.hear()]
        while heard[-1]["type"] not in kinds:
            heard.append(self.hear())
        return heard

    def finish(self, assignment: Assignment) -> Message:
        self.tell(assignment)
        return self.hear_until("succeeded", "failed", "stopped")[-1]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        os.close(self._messages)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    with contextlib.closing(Child(tmp_path / "child.log")) as started:
        yield started


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One process for all tests that leave it whole."""
    with contextlib.closing(Child(tmp_path_factory.mktemp("trainer") / "child.log")) as started:
        assert started.hear()["type"] == "ready"
        yield started


def _digest(message: Message, name: str = "model.safetensors") -> str:
    (file,) = [file for file in message["files"] if file["path"] == name]
    digest = hashlib.sha256(Path(file["file"]).read_bytes()).hexdigest()
    assert digest == file["sha256"]
    assert Path(file["file"]).stat().st_size == file["bytes"]
    return digest


def test_one_process_does_run_after_run_each_as_if_it_were_the_first(
    shared: Child, lab: Lab
) -> None:
    prepared = shared.finish(lab.assignment("prepare"))
    assert prepared["type"] == "succeeded"
    assert prepared["files"] == []
    first = shared.finish(lab.assignment())
    other = shared.finish(lab.assignment(seed=1))
    again = shared.finish(lab.assignment())
    assert first["result"]["epochs"] == 3
    assert _digest(first) == _digest(again) != _digest(other)


def test_a_job_goes_from_its_preparation_to_its_report(shared: Child, lab: Lab) -> None:
    prepared = shared.finish(lab.assignment("prepare"))
    students = []
    for arm in ("distilled", "no_teacher"):
        trained = shared.finish(lab.assignment(arm=arm))
        students.append(
            {
                "id": f"stu_{arm}",
                "student": "small",
                "arm": arm,
                "variant": None,
                "fold": None,
                "seed": 0,
                "files": {file["path"]: file["file"] for file in trained["files"]},
                "result": trained["result"],
            }
        )
    report = shared.finish(lab.assignment("report", students=students, prepared=prepared["result"]))
    assert report["type"] == "succeeded", report
    assert {arm["arm"] for arm in report["result"]["result"]["arms"]} == {
        "distilled",
        "no_teacher",
    }
    assert "stu_distilled/predictions.npz" in {file["path"] for file in report["files"]}


def test_the_log_of_a_report_names_no_path_of_this_machine(
    child: Child, lab: Lab, tmp_path: Path
) -> None:
    network = {"family": "timm", "name": "test_resnet", "options": {}}
    fed = {"size": [24, 24], "channels": "gray", "mean": [0.3], "std": [0.4]}
    spec = lab.spec(students=[{"name": "small", "network": network, "input": fed}])
    assert child.hear()["type"] == "ready"
    trained = child.finish(lab.assignment(spec=spec))
    student = {
        "id": "stu_distilled",
        "student": "small",
        "arm": "distilled",
        "variant": None,
        "fold": None,
        "seed": 0,
        "files": {file["path"]: file["file"] for file in trained["files"]},
        "result": trained["result"],
    }
    report = child.finish(lab.assignment("report", spec=spec, students=[student]))
    assert report["type"] == "succeeded", report
    log = (tmp_path / "child.log").read_text()
    assert "report begins" in log
    assert str(tmp_path) not in log
    assert "pretrained weights" not in log


def test_what_the_spec_caused_fails_with_its_code_and_field(shared: Child, lab: Lab) -> None:
    spec = lab.spec(training={"batch_size": 131})
    failed = shared.finish(lab.assignment("prepare", spec=spec))
    assert (failed["type"], failed["code"]) == ("failed", "batch_larger_than_data")
    assert failed["field"] == "training.batch_size"


def test_a_run_that_diverges_fails_as_diverged(shared: Child, lab: Lab) -> None:
    hot = {"optimizer": {"kind": "sgd", "lr": 100}, "schedule": {"kind": "constant"}, "epochs": 50}
    failed = shared.finish(lab.assignment(spec=lab.spec(training=hot)))
    assert (failed["type"], failed["code"]) == ("failed", "diverged")


def test_a_defect_fails_the_run_and_not_the_process(shared: Child, lab: Lab) -> None:
    assert shared.finish(lab.assignment(student="nobody"))["code"] == "internal"
    assert shared.finish(lab.assignment())["type"] == "succeeded"


def test_a_device_that_is_not_there_is_refused(shared: Child, lab: Lab) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    failed = shared.finish(lab.assignment(device="cuda"))
    assert (failed["code"], failed["field"]) == ("device_not_available", "resources.device")


def test_a_stop_leaves_a_checkpoint_and_the_process_ready(shared: Child, lab: Lab) -> None:
    shared.tell(lab.assignment(spec=lab.spec(training=LONG)))
    shared.hear_until("metrics")
    shared.tell({"type": "stop"})
    heard = shared.hear_until("stopped", "succeeded", "failed")
    assert [message["type"] for message in heard[-2:]] == ["checkpoint", "stopped"]
    # The stop was for that run alone.
    assert shared.finish(lab.assignment())["type"] == "succeeded"


def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_bytes(
    child: Child, shared: Child, lab: Lab
) -> None:
    spec = lab.spec(training=LONG)
    whole = shared.finish(lab.assignment(spec=spec))
    assert child.hear()["type"] == "ready"
    child.tell(lab.assignment(spec=spec, checkpoint_seconds=0.0))
    heard = child.hear_until("metrics")
    saved = [message for message in heard if message["type"] == "checkpoint"][-1]
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.wait(PATIENCE_SECONDS)
    assert 0 < saved["step"] < 750
    resumed = shared.finish(lab.assignment(spec=spec, checkpoint=saved["file"]["file"]))
    assert resumed["type"] == "succeeded"
    assert _digest(resumed) == _digest(whole)
    assert resumed["result"]["history"] == whole["result"]["history"]


def test_it_says_what_it_computes_on_and_which_networks_it_knows(child: Child) -> None:
    ready = child.hear()
    assert ready["extra"]["device"] in ("cpu", "cuda")
    networks = {(family, name): figures for family, name, *figures in ready["extra"]["networks"]}
    # RepDistiller's resnet8 on CIFAR-100; timm's page of ResNet-18 says 11.69 M and 1.8 G.
    assert networks["builtin", "resnet8"] == [83_892, 12_507_392]
    assert networks["timm", "resnet18"] == [11_689_512, 1_814_073_344]
    assert networks["builtin", "mlp"] == [None, None]  # it depends on what it's given


def test_it_ends_at_once_when_its_supervisor_is_gone(child: Child, lab: Lab) -> None:
    assert child.hear()["type"] == "ready"
    child.tell(lab.assignment(spec=lab.spec(training=LONG)))
    child.hear_until("metrics")
    assert child.process.stdin is not None
    child.process.stdin.close()
    assert child.process.wait(PATIENCE_SECONDS) == 0
