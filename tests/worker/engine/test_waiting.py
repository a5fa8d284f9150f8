"""Whether a step waits for the device. A tensor on torch's device "meta" has no values: whatever
would have to read one, and so wait for a GPU, is an error there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from stillhouse.spec import InputSpec, ResolvedJob
from tests.worker.conftest import INPUT, RESNET, TEACHER, Lab
from worker.engine import course, meter, panel, snapshot, teacher, teacher_outputs, train
from worker.engine import state as states
from worker.engine.course import Course
from worker.engine.data import feed
from worker.engine.data.feed import Feed
from worker.engine.data.source import Source
from worker.engine.state import State
from worker.engine.teacher_outputs import TeacherOutputs
from worker.engine.train import Step

META = torch.device("meta")
OBJECTIVES: dict[str, list[dict[str, Any]]] = {
    "outputs": [{"kind": "labels"}, {"kind": "soft_targets"}, {"kind": "correlation"}],
    "labels": [{"kind": "decoupled"}, {"kind": "virtual_teacher"}, {"kind": "hard_targets"}],
    "features": [{"kind": "feature_hint"}, {"kind": "attention_maps"}, {"kind": "similarity"},
                 {"kind": "relations"}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _snapshots_belong_to_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    # The copy to the host before an epoch's first step is none of the steps'.
    monkeypatch.setattr(snapshot, "take", lambda _: None)


def _on_meta(lab: Lab, objective: list[dict[str, Any]], **training: Any) -> tuple[State, Course]:
    """A run whose every tensor is on the device without values."""
    student = {"name": "small", "network": RESNET, "input": INPUT}
    given = lab.spec(students=[student], objective=objective, training=training)
    spec = ResolvedJob.model_validate(given)
    teachers = [lab.teacher(RESNET)]
    known = course.of_run(lab.assignment(teachers=teachers), spec, spec.students[0], seed=0)
    network = lab.network(RESNET)
    built = known.objective(network, spec.students[0]).to(META)
    fed = feed.make(InputSpec.model_validate(INPUT), device=META)
    resident = torch.from_numpy(np.array(known.source.items)).to(META)
    source = replace(known.source, device=META, resident=resident)
    moved = replace(
        known,
        source=source,
        labels=known.labels.to(META),
        feed=fed,
        teacher=_ask(known, source, fed, built.teacher_layers),
    )
    return states.begin(network.to(META), built, recipe=known.recipe), moved


def _ask(
    known: Course, source: Source, fed: Feed, layers: tuple[str, ...]
) -> TeacherOutputs | None:
    if known.panel is None or known.panel.inside is None:
        return None
    inside = known.panel.inside
    moved = teacher.of_network(
        inside.network.to(META), spec=inside.spec, fed=inside.input, feed=fed, id=TEACHER
    )
    asked = teacher_outputs.begin(
        panel.of_teacher(moved), source, recipe=known.recipe, classes=known.classes
    )
    asked.remembers = False  # It is asked in each step.
    asked.layers = layers
    return asked


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": {"kind": "sgd", "lr": 0.1}, "clip_norm": 1.0, "ema": {"decay": 0.9}},
        {"optimizer": {"kind": "adamw", "lr": 0.1}, "accumulate": 2, "deterministic": False},
        {"augment": [{"kind": "flip"}, {"kind": "cutmix"}], "views": "fresh"},
        {"augment": [{"kind": "mixup"}], "optimizer": {"kind": "muon", "lr": 0.01}},
    ],
)
def test_no_step_waits_for_the_device(lab: Lab, objective: str, training: dict[str, Any]) -> None:
    state, moved = _on_meta(lab, OBJECTIVES[objective], **training)
    counted = meter.make(steps=5)
    events = train.distill(state, course=moved)
    for step in range(1, 6):
        event = next(events)
        assert isinstance(event, Step)
        counted.add(event)
        assert event.step == step
        assert event.loss.device == META


def test_the_end_of_an_epoch_and_a_metrics_point_do_wait(lab: Lab) -> None:
    state, moved = _on_meta(lab, OBJECTIVES["outputs"])
    counted = meter.make(steps=5)
    events = train.distill(state, course=moved)
    for _ in range(5):
        event = next(events)
        assert isinstance(event, Step)
        counted.add(event)
    with pytest.raises((RuntimeError, NotImplementedError)):
        counted.read(5)
    with pytest.raises((RuntimeError, NotImplementedError)):
        next(events)
