"""Whether a student's runs can begin: all that they make before their first step, thrown away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from stillhouse.errors import InputRejected
from stillhouse.spec import (
    ResolvedJob,
    StudentSpec,
    TeacherInit,
    TeacherRef,
    TextInput,
)
from worker.engine import cautions, course, objective, recipe, stages
from worker.engine.checkpoint import Past
from worker.engine.data import feed, mixing, tokens
from worker.engine.data.parts import Part
from worker.engine.networks import shrink, transformers_family
from worker.engine.panel import AnyTeacher, Panel
from worker.engine.stages import Stage
from worker.engine.trial import Bench

_OF_TRAINING = ("batch_size", "accumulate", "augment", "optimizer", "ema")
"""What of a recipe the making of a run depends on."""
Warnings = list[dict[str, str]]
"""[{code, message}]"""


@dataclass(slots=True)
class Fitting:
    """A job's teachers and transfer sets, and what was found to fit already."""

    teachers: Mapping[str, AnyTeacher]
    """By id."""
    transfer: list[Part]
    _found: dict[str, Warnings] = field(default_factory=dict)

    def check(
        self, bench: Bench, spec: ResolvedJob, student: StudentSpec, *, place: int
    ) -> Warnings:
        """Make what each arm's run of a student begins with, in every stage.

        What doesn't fit is refused as by `mixing.check`, `course.of_parts`, `stages.plan` and
        `stages.begin`.

        Args:
            bench: Where, with the recipe of this specification.
            spec: The job's, or a variant's.
            student: The student, with its network.
            place: Where it stands among the students.

        Returns:
            What the user should know of it (see `cautions`).
        """
        key = _key(spec, student)
        if key in self._found:
            return self._found[key]
        found: Warnings = []
        mixing.check(bench.recipe.augment, recipe.fed(student))
        plain = course.of_parts(
            bench.parts,
            transfer=self.transfer,
            recipe=bench.recipe,
            fed=feed.make(recipe.fed(student), device=bench.device, files=bench.files),
            device=bench.device,
            classes=bench.classes,
            seed=0,
        )
        for arm in spec.arms:
            terms = objective.for_arm(spec.objective, arm)
            is_tied = isinstance(student.init, TeacherInit) and arm != objective.NO_TEACHER
            asked = self._panel(spec) if objective.needs_teacher(terms) or is_tied else None
            base = plain.taught_by(asked, terms, student)
            # A third stage is made as the second one is.
            for stage in stages.plan(spec, student, arm=arm, field=f"students.{place}")[:2]:
                state, chosen = stages.begin(stage, base, files=bench.files, past=Past())
                _check_words(state.network, stage, files=bench.files)
                if stage.arm != objective.NO_TEACHER:
                    found += cautions.of_course(chosen, stage.student)
                bench.pulse(0)
        self._found[key] = found
        return found

    def resolve(
        self, bench: Bench, spec: ResolvedJob, student: StudentSpec, *, place: int
    ) -> StudentSpec:
        """A student with a network, where it is the first teacher's made smaller.

        What can't be made smaller is refused as by `shrink.resolve`.

        Args:
            bench: Where.
            spec: The job's, or a variant's.
            student: As the job names it.
            place: Where it stands among the students.

        Returns:
            The student by a network.

        Raises:
            InputRejected: `needs_teacher_weights`.
        """
        if student.shrink is None:
            return student
        asked = self._panel(spec)
        first = asked.inside if asked else None
        if first is None:
            raise InputRejected(
                "needs_teacher_weights",
                "'shrink' makes the first teacher's network smaller, and it has none; name a "
                "'network' instead.",
                field=f"students.{place}.shrink",
            )
        network = shrink.resolve(
            student.shrink,
            first.spec,
            fed=recipe.fed(student),
            classes=bench.classes,
            field=f"students.{place}.shrink",
        )
        return student.model_copy(update={"network": network, "shrink": None})

    def _panel(self, spec: ResolvedJob) -> Panel | None:
        named = [one for one in spec.teachers if isinstance(one, TeacherRef)]
        if not named:
            return None
        total = sum(one.weight for one in named)
        return Panel(
            tuple(self.teachers[one.id] for one in named),
            tuple(one.weight / total for one in named),
            spec.combine,
        )


def check_expectations(spec: ResolvedJob, accuracies: Mapping[str, float]) -> None:
    """Refuse a teacher that isn't what it is known to be.

    Args:
        spec: The job's.
        accuracies: Id -> accuracy on the validation part.

    Raises:
        InputRejected: `teacher_not_as_expected`.
    """
    for place, one in enumerate(spec.teachers):
        if not isinstance(one, TeacherRef) or one.expect is None or one.id not in accuracies:
            continue
        wanted, found = one.expect.validation_accuracy, accuracies[one.id]
        if abs(wanted - found) > one.expect.tolerance:
            raise InputRejected(
                "teacher_not_as_expected",
                f"The teacher reaches {found:.4f} on the validation part, and {wanted:.4f} within "
                f"{one.expect.tolerance:g} was expected; look at its input, its normalisation "
                "and its classes, or name the right figure.",
                field=f"teachers.{place}.expect",
                found=found,
            )


def _check_words(network: nn.Module, stage: Stage, *, files: Mapping[str, str]) -> None:
    fed = recipe.fed(stage.student)
    if not isinstance(fed, TextInput):
        return
    words, known = tokens.highest(fed, files=files) + 1, transformers_family.vocabulary(network)
    if words > known:
        raise InputRejected(
            "tokenizer_mismatch",
            f"The tokenizer has {words} words, and the network an embedding of {known}; set "
            f"vocab_size to {words} or more, or take the tokenizer that belongs to it.",
            field=f"{stage.field}.network.options.vocab_size",
        )


def _key(spec: ResolvedJob, student: StudentSpec) -> str:
    whole = spec.model_dump(mode="json")
    training = {name: whole["training"][name] for name in _OF_TRAINING}
    parts = [training, whole["teachers"], whole["combine"], whole["objective"], spec.arms]
    return json.dumps([student.model_dump(mode="json", exclude={"name"}), *parts])
