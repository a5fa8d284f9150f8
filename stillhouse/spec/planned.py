"""The training runs that a job's variants come to.

A run that several variants would make alike is made once. A sweep over the objective has one
control: without the teacher, nothing of what it changes is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stillhouse.errors import InputRejected
from stillhouse.spec.job import JobSpec
from stillhouse.spec.objective import Labels
from stillhouse.spec.student import RandomInit, StudentSpec, TeacherInit
from stillhouse.spec.variants import Variant, text

MOST_RUNS = 10_000
NO_TEACHER = "no_teacher"

Key = tuple[str, str, str | None]
"""A student, an arm and a variant, by name."""


@dataclass(frozen=True, slots=True)
class TrainRun:
    """A network to train."""

    student: str
    arm: str
    variant: str | None
    """The first of those that share the run; None: all do."""
    seed: int


def runs(variants: Sequence[Variant]) -> list[TrainRun]:
    """The training runs of a job's variants, each once.

    Args:
        variants: Of one job.

    Returns:
        By variant, student, arm and seed.

    Raises:
        InputRejected: `too_many_runs`.
    """
    spec = variants[0].spec
    named = dict.fromkeys(
        (student, arm, name) for (student, arm, _), name in trained_as(variants).items()
    )
    if len(named) * len(spec.seed_list) > MOST_RUNS:
        raise InputRejected(
            "too_many_runs",
            f"The job would have {len(named) * len(spec.seed_list)} training runs, and {MOST_RUNS} "
            "are the most; take fewer values, students or seeds.",
            field="sweep" if len(variants) > 1 else "seeds",
        )
    return [TrainRun(*key, seed) for key in named for seed in spec.seed_list]


def trained_as(variants: Sequence[Variant]) -> dict[Key, str | None]:
    """Which variant names the run that a student of a variant is trained in, for each arm.

    Args:
        variants: Of one job.

    Returns:
        By student, arm and variant: the first variant whose run is the same, or None where it is
        the same in all.
    """
    alike: dict[tuple[str, ...], list[str | None]] = {}
    belongs: dict[Key, tuple[str, ...]] = {}
    for variant in variants:
        for student in variant.spec.students:
            for arm in variant.spec.arms:
                essence = (student.name, arm, *essence_of(variant.spec, student, arm))
                alike.setdefault(essence, []).append(variant.name)
                belongs[student.name, arm, variant.name] = essence
    return {
        key: None if len(alike[essence]) == len(variants) else alike[essence][0]
        for key, essence in belongs.items()
    }


def essence_of(spec: JobSpec, student: StudentSpec, arm: str) -> tuple[str, ...]:
    """What the runs of a student and an arm depend on, as text: equal, the runs are the same.

    Without the teacher that is the recipe, the student, and how its labels are smoothed and
    weighted; it begins at random then, even where the student begins at its teacher's weights.
    """
    if arm == NO_TEACHER:
        given = next((term for term in spec.objective if isinstance(term, Labels)), None)
        labels = (given or Labels(kind="labels")).model_copy(update={"weight": 1.0})
        alone = student
        if isinstance(student.init, TeacherInit):
            alone = student.model_copy(update={"init": RandomInit()})
        training = spec.training.model_copy(update={"balance": False})
        return (text(training), text(labels), text(alone))
    return (
        text(spec.training),
        *map(text, spec.objective),
        text(student),
        spec.combine,
        *map(text, spec.teachers),
    )
