"""What a training run learns from, and how: the same from its first step to its last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch

from stillhouse.spec import ResolvedJob, StudentSpec
from worker.engine import material, objective, recipe, teacher, teacher_outputs
from worker.engine.data import feed, images, order
from worker.engine.data.feed import Feed
from worker.engine.data.images import Images
from worker.engine.data.parts import Part
from worker.engine.objective import Objective
from worker.engine.recipe import Recipe
from worker.engine.teacher_outputs import TeacherOutputs
from worker.protocol import Assignment


@dataclass(frozen=True, slots=True)
class Course:
    """All that a step is a function of, beside the state."""

    recipe: Recipe
    objective: Objective
    """Of the run's arm (see `objective.for_arm`)."""
    seed: int
    images: Images
    """Of the train part."""
    validation: Part
    feed: Feed
    teacher: TeacherOutputs | None
    """None where the objective needs none."""

    @property
    def batches(self) -> list[tuple[int, int]]:
        """Start and stop of an epoch's batches, in its order."""
        return order.bounds(len(self.images.part), batch_size=self.recipe.batch_size)

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
    source = images.place(found["train"], device=place)
    outputs = None
    if objective.needs_teacher(terms):
        loaded = teacher.load(assignment["teachers"][0], classes=classes, device=place)
        outputs = teacher_outputs.begin(loaded, source, recipe=chosen, classes=classes)
    return Course(
        recipe=chosen,
        objective=terms,
        seed=seed,
        images=source,
        validation=found["validation"],
        feed=feed.make(recipe.fed(student), device=place),
        teacher=outputs,
    )


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
        "seed": assignment["seed"],
        "dataset": assignment["dataset"]["fingerprint"],
        "classes": assignment["dataset"]["classes"],
        "teachers": [files["id"] for files in assignment["teachers"]],
        "torch": str(torch.__version__),
        "timm": timm.__version__,
        **exact,
    }
