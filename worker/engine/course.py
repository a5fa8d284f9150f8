"""What a training run learns from, and how: the same from its first step to its last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import ResolvedJob, StudentSpec
from worker.engine import material, objective, recipe, teacher_outputs
from worker.engine import panel as panels
from worker.engine.data import feed, mixing, order, parts
from worker.engine.data import source as sources
from worker.engine.data.feed import Feed
from worker.engine.data.parts import Part
from worker.engine.data.source import Source
from worker.engine.objective import Objective, Terms
from worker.engine.panel import Panel
from worker.engine.recipe import Recipe
from worker.engine.teacher import Teacher
from worker.engine.teacher_outputs import TeacherOutputs
from worker.engine.terms import Setting, Side
from worker.protocol import Assignment, DatasetFiles


@dataclass(frozen=True, slots=True)
class Course:
    """All that a step is a function of, beside the state."""

    recipe: Recipe
    terms: Terms
    """Of the run's arm (see `objective.for_arm`)."""
    seed: int
    source: Source
    """Of the train part, and of the transfer sets' after it."""
    labels: Tensor
    """(rows of the source,) int64 on the device; -1 where a row has none."""
    validation: Part
    feed: Feed
    teacher: TeacherOutputs | None
    """None where no term asks a teacher."""
    classes: int
    panel: Panel | None
    """The teachers themselves; None where the objective needs none."""
    rows: tuple[Part, ...]
    """The parts that the source is made of."""

    @property
    def batches(self) -> list[tuple[int, int]]:
        """Start and stop of an epoch's batches, in its order."""
        return order.bounds(len(self.source), batch_size=self.recipe.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return len(self.batches) * self.recipe.epochs

    def objective(self, network: nn.Module, student: StudentSpec) -> Objective:
        """Make the run's objective, and have the teacher tell what it reads.

        What doesn't fit is refused as by `objective.check` and `objective.build`.

        Args:
            network: The student, on the device.
            student: Its specification.

        Returns:
            The objective, on the device.
        """
        items = -(-max(stop - start for start, stop in self.batches) // self.recipe.accumulate)
        objective.check(self.terms, classes=self.classes, batch_size=items)
        setting = Setting(
            student=Side(network, recipe.network(student), recipe.fed(student)),
            teacher=self.panel.inside if self.panel else None,
            labels=self.labels,
            classes=self.classes,
            seed=self.seed,
            mixes=mixing.kind(self.recipe.augment) is not None,
        )
        built = objective.build(self.terms, setting)
        if self.teacher is not None:
            self.teacher.layers = built.teacher_layers
        return built

    def taught_by(self, panel: Panel | None, terms: Terms, student: StudentSpec) -> Course:
        """The same rows and recipe under other teachers and another objective.

        What the teachers can't do is refused as by `panel.check`.

        Args:
            panel: The teachers, on the device; None: there are none.
            terms: What is trained.
            student: Whose items the source has.

        Returns:
            The course; nothing was asked of the teachers yet.
        """
        outputs = None
        if panel is not None:
            has_transfer = len(self.rows) > 1
            mixes = mixing.kind(self.recipe.augment) is not None
            panels.check(panel, terms, mixes=mixes, transfer=has_transfer)
            if objective.needs_outputs(terms):
                outputs = teacher_outputs.begin(
                    panel,
                    self.source,
                    recipe=self.recipe,
                    classes=self.classes,
                    own=[_own_items(one, student, self) for one in panel.teachers],
                )
        return replace(self, terms=terms, panel=panel, teacher=outputs)


def of_run(
    assignment: Assignment,
    spec: ResolvedJob,
    student: StudentSpec,
    *,
    seed: int,
    arm: str | None = None,
) -> Course:
    """The course of a train run, or of a student's trial before it.

    What doesn't fit is refused as by `material.take`, `panel.load` and `Course.taught_by`.

    Args:
        assignment: The run.
        spec: The job's.
        student: Whose items are placed.
        seed: The run's.
        arm: Default: the assignment's.

    Returns:
        The course.
    """
    device = torch.device(assignment["device"])
    chosen = recipe.of_job(spec)
    fed = feed.make(recipe.fed(student), device=device, files=assignment["files"])
    plain = of_parts(
        material.take(assignment["dataset"], recipe=chosen),
        transfer=transfer_parts(assignment["transfer"]),
        recipe=chosen,
        fed=fed,
        device=device,
        classes=len(assignment["dataset"]["classes"]),
        seed=seed,
    )
    terms = objective.for_arm(spec.objective, arm or assignment["arm"] or objective.NO_TEACHER)
    panel = None
    if objective.needs_teacher(terms):
        panel = panels.load(assignment, spec, device=device)
    return plain.taught_by(panel, terms, student)


def of_parts(
    found: Mapping[str, Part],
    *,
    transfer: Sequence[Part] = (),
    recipe: Recipe,
    fed: Feed,
    device: torch.device,
    classes: int,
    seed: int,
) -> Course:
    """A course without a teacher: labels alone.

    Args:
        found: `train` and `validation`.
        transfer: Parts whose rows are trained on without labels.
        recipe: The job's.
        fed: The student's feed.
        device: Where it computes.
        classes: The dataset's number of classes.
        seed: The run's.

    Returns:
        The course.

    Raises:
        InputRejected: `transfer_differs`: its items have another shape or type.
    """
    rows = (found["train"], *(part for part in transfer if len(part)))
    for part in rows[1:]:
        if (part.modality, _form(part)) != (rows[0].modality, _form(rows[0])):
            raise InputRejected(
                "transfer_differs",
                f"The transfer set's items are {part.x.dtype} {part.x.shape[1:]}, the dataset's "
                f"{rows[0].x.dtype} {rows[0].x.shape[1:]}; give it the same input.",
                field="transfer",
            )
    return Course(
        recipe=recipe,
        terms=objective.for_arm((), objective.NO_TEACHER),
        seed=seed,
        source=sources.join([fed.place(part, device=device) for part in rows]),
        labels=torch.cat([_labels(part, known=not place) for place, part in enumerate(rows)]).to(
            device
        ),
        validation=found["validation"],
        feed=fed,
        teacher=None,
        classes=classes,
        panel=None,
        rows=rows,
    )


def transfer_parts(transfer: Sequence[DatasetFiles]) -> list[Part]:
    """The train parts of transfer sets."""
    return [parts.open_part(files["parts"]["train"]) for files in transfer]


def _labels(part: Part, *, known: bool) -> Tensor:
    if known:
        return torch.from_numpy(np.array(part.labels))
    return torch.full((len(part),), parts.UNLABELLED)


def _form(part: Part) -> tuple[Any, ...]:
    """What items that are stacked must share; texts become tokens of one length."""
    return (part.x.dtype, *part.x.shape[1:])


def _own_items(one: panels.AnyTeacher, student: StudentSpec, course: Course) -> Source | None:
    """A text teacher's own tokens, unless it has the student's tokenizer and length."""
    if not isinstance(one, Teacher) or one.input.modality != "text":
        return None
    if one.input == recipe.fed(student):
        return None
    placed = [one.feed.place(part, device=course.source.device) for part in course.rows]
    return sources.join(placed)


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
        "combine": job["combine"],
        "student": student.model_dump(mode="json"),
        "arm": assignment["arm"],
        "variant": assignment["variant"],
        "seed": assignment["seed"],
        "dataset": assignment["dataset"]["fingerprint"],
        "transfer": [files["fingerprint"] for files in assignment["transfer"]],
        "classes": assignment["dataset"]["classes"],
        "teachers": job["teachers"],
        "torch": str(torch.__version__),
        "timm": timm.__version__,
        **exact,
    }
