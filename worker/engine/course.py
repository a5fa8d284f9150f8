"""What a training run learns from, and how: the same from its first step to its last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor

from stillhouse.spec import ResolvedJob, StudentSpec
from worker.engine import material, objective, recipe, teacher, teacher_outputs
from worker.engine.data import feed, order
from worker.engine.data.feed import Feed
from worker.engine.data.parts import Part
from worker.engine.data.source import Source
from worker.engine.objective import Terms
from worker.engine.recipe import Recipe
from worker.engine.teacher_outputs import TeacherOutputs
from worker.protocol import Assignment


@dataclass(frozen=True, slots=True)
class Course:
    """All that a step is a function of, beside the state."""

    recipe: Recipe
    terms: Terms
    """Of the run's arm (see `objective.for_arm`)."""
    seed: int
    source: Source
    """Of the train part."""
    labels: Tensor
    """(rows of the source,) int64 on the device; -1 where a row has none."""
    validation: Part
    feed: Feed
    teacher: TeacherOutputs | None
    """None where the objective needs none."""

    @property
    def batches(self) -> list[tuple[int, int]]:
        """Start and stop of an epoch's batches, in its order."""
        return order.bounds(len(self.source), batch_size=self.recipe.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return len(self.batches) * self.recipe.epochs


def of_run(assignment: Assignment, spec: ResolvedJob, student: StudentSpec, *, seed: int) -> Course:
    """The course of a train run.

    What doesn't fit is refused as by `material.take` and `teacher.load`.
    """
    place = torch.device(assignment["device"])
    classes = len(assignment["dataset"]["classes"])
    chosen = recipe.of_job(spec)
    terms = objective.for_arm(spec.objective, assignment["arm"] or objective.NO_TEACHER)
    found = material.take(assignment["dataset"], recipe=chosen)
    fed = feed.make(recipe.fed(student), device=place, files=assignment["files"])
    source = fed.place(found["train"], device=place)
    outputs = None
    if objective.needs_teacher(terms):
        loaded = teacher.load(
            assignment["teachers"][0], classes=classes, device=place, inputs=assignment["files"]
        )
        outputs = teacher_outputs.begin(loaded, source, recipe=chosen, classes=classes)
    return Course(
        recipe=chosen,
        terms=terms,
        seed=seed,
        source=source,
        labels=labels_of(source),
        validation=found["validation"],
        feed=fed,
        teacher=outputs,
    )


def labels_of(source: Source) -> Tensor:
    """A source's labels on its device, (rows,) int64."""
    return torch.from_numpy(np.array(source.part.labels)).to(source.device)


def configuration(
    assignment: Assignment, spec: ResolvedJob, student: StudentSpec
) -> Mapping[str, Any]:
    """All that the bits of a run's checkpoint may depend on, as JSON data."""
    job = spec.model_dump(mode="json")
    exact: dict[str, Any] = {}
    if spec.training.deterministic is True:
        # Sums depend on how many threads share them; without this, so would the student's hash.
        device = torch.device(assignment["device"])
        exact = {"threads": assignment["threads"], "device": device.type}
    return {
        "training": job["training"],
        "objective": job["objective"],
        "select": job["select"],
        "student": student.model_dump(mode="json"),
        "arm": assignment["arm"],
        "variant": assignment["variant"],
        "seed": assignment["seed"],
        "dataset": assignment["dataset"]["fingerprint"],
        "classes": assignment["dataset"]["classes"],
        "teachers": [files["id"] for files in assignment["teachers"]],
        "torch": str(torch.__version__),
        "timm": timm.__version__,
        **exact,
    }
