from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RunFailed
from tests.worker.conftest import Lab
from worker.engine import train_run
from worker.engine.stop import Stopped
from worker.protocol import Assignment, Message

pytestmark = pytest.mark.usefixtures("exact")


class Ear:
    """Hears what a run says, and stops it at a step."""

    def __init__(self, *, stop_at: int | None = None) -> None:
        self.heard: list[Message] = []
        self._stop_at = stop_at

    def __call__(self, message: Message) -> None:
        self.heard.append(message)
        if message["type"] == "progress" and message["step"] == self._stop_at:
            raise Stopped

    def of_type(self, kind: str) -> list[Message]:
        return [message for message in self.heard if message["type"] == kind]


def _weights(assignment: Assignment, say: Ear | None = None) -> tuple[dict[str, Any], bytes]:
    result, listing = train_run.make(assignment, say=say or Ear())
    return result, dict(listing)["model.safetensors"].read_bytes()


def test_it_leaves_the_students_folder_and_its_figures(lab: Lab) -> None:
    result, listing = train_run.make(lab.assignment(), say=Ear())
    assert {name for name, _ in listing} == {"model.safetensors", "config.json", "model.pt2"}
    assert result["epochs"] == len(result["history"]) == 3
    best = result["history"][result["best_epoch"]]
    assert result["validation"] == best["validation"]
    assert result["parameters"] == 64 * 24 + 24 + 24 * 10 + 10
    # Three epochs of two views: the third finds the first one's outputs.
    assert (result["teacher_forwards"], result["store_hits"]) == (260, 130)
    assert result["train_seconds"] > 0
    assert result["items_per_second"] > 0


def test_it_says_how_far_it_is_and_how_it_goes(lab: Lab) -> None:
    ear = Ear()
    train_run.make(lab.assignment(), say=ear)
    steps = [message["step"] for message in ear.of_type("progress")]
    assert steps[0] == 0
    assert steps == sorted(steps)
    assert steps[-1] == ear.of_type("progress")[-1]["steps"] == 15
    points = [point for message in ear.of_type("metrics") for point in message["points"]]
    assert {name for name, _, _ in points} == {
        "loss", "loss.labels", "loss.soft_targets", "lr", "items_per_second", "train_accuracy",
        "validation_accuracy", "validation_loss",
    }  # fmt: skip
    assert [step for name, step, _ in points if name == "validation_accuracy"] == [5, 10, 15]


def test_the_arm_without_a_teacher_does_without_one(lab: Lab) -> None:
    spec = lab.spec(teachers=[])
    alone = lab.assignment(spec=spec, teachers=[], job_kind="train", arm="no_teacher")
    control = lab.assignment(arm="no_teacher")
    result, weights = _weights(alone)
    assert (result["teacher_forwards"], result["store_hits"]) == (0, 0)
    assert weights == _weights(control)[1]
    assert weights != _weights(lab.assignment())[1]


@pytest.mark.parametrize("step", [1, 5, 8])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(lab: Lab, step: int) -> None:
    whole, weights = _weights(lab.assignment())
    ear = Ear(stop_at=step)
    with pytest.raises(Stopped):
        train_run.make(lab.assignment(), say=ear)
    (message,) = ear.of_type("checkpoint")
    assert message["step"] == step
    assert Path(message["file"]["file"]).stat().st_size == message["file"]["bytes"]
    again = Ear()
    result, resumed = _weights(lab.assignment(checkpoint=message["file"]["file"]), again)
    assert resumed == weights
    assert result["history"] == whole["history"]
    assert [event["code"] for event in again.of_type("event")] == ["resumed"]
    # What was asked of the teacher before the stop was asked, and is counted.
    assert result["teacher_forwards"] >= whole["teacher_forwards"]


def test_a_run_stopped_before_its_first_step_leaves_nothing(lab: Lab) -> None:
    ear = Ear(stop_at=0)
    with pytest.raises(Stopped):
        train_run.make(lab.assignment(), say=ear)
    assert ear.of_type("checkpoint") == []


def test_checkpoints_come_as_often_as_asked_but_not_oftener_than_they_may_cost(lab: Lab) -> None:
    ear = Ear()
    train_run.make(lab.assignment(checkpoint_seconds=0.0), say=ear)
    steps = [message["step"] for message in ear.of_type("checkpoint")]
    assert steps[0] == 1
    assert len(steps) < 15


def test_a_checkpoint_of_another_recipe_is_not_used(lab: Lab) -> None:
    ear = Ear(stop_at=5)
    with pytest.raises(Stopped):
        train_run.make(lab.assignment(), say=ear)
    (message,) = ear.of_type("checkpoint")
    other = lab.spec(training={"clip_norm": 1.0})
    again = Ear()
    _, resumed = _weights(lab.assignment(checkpoint=message["file"]["file"], spec=other), again)
    assert [event["code"] for event in again.of_type("event")] == ["checkpoint_unusable"]
    assert resumed == _weights(lab.assignment(spec=other))[1]


def test_a_run_that_diverges_says_so_and_leaves_no_checkpoint(lab: Lab) -> None:
    hot = {"optimizer": {"kind": "sgd", "lr": 100}, "schedule": {"kind": "constant"},
           "epochs": 50}  # fmt: skip
    ear = Ear()
    with pytest.raises(RunFailed) as failed:
        train_run.make(lab.assignment(spec=lab.spec(training=hot)), say=ear)
    assert failed.value.failure == "diverged"
    assert "lr" in failed.value.detail
    assert ear.of_type("checkpoint") == []
