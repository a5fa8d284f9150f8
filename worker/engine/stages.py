"""The stages of a train run: networks that are trained one after another, each by the last.

Most runs have one. Born-again rounds (Furlanello et al. 2018, arXiv:1805.04770) train the student
with labels, then students of the same network by it, each from new weights, until a round is no
better on validation. A chain through an assistant (Mirzadeh et al. 2020, arXiv:1902.03393) trains
a network between teacher and student first. The control without a teacher always has one stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from stillhouse.errors import InputRejected
from stillhouse.spec import ResolvedJob, SelfTeacher, StudentSpec, TeacherInit, TeacherRef
from worker.engine import course, initial, objective, panel, recipe, teacher, trial
from worker.engine import state as states
from worker.engine.checkpoint import Past
from worker.engine.course import Course
from worker.engine.objective import Terms
from worker.engine.state import State
from worker.engine.teacher import Teacher
from worker.protocol import Assignment


@dataclass(frozen=True, slots=True)
class Stage:
    """A network to train."""

    name: str
    student: StudentSpec
    terms: Terms
    arm: str
    field: str
    """Where its network stands in the job's specification."""
    draw: int = 0
    """Which of a seed's initial weights; all arms begin at 0."""
    after: Stage | None = None
    """The stage whose best weights are the teacher; None: the job's teachers are."""
    must_improve: bool = False
    """Whether the chain ends, with the stage before as its result, unless this one is better."""


def plan(spec: ResolvedJob, student: StudentSpec, *, arm: str, field: str) -> tuple[Stage, ...]:
    """A run's stages.

    Args:
        spec: The job's.
        student: The student.
        arm: The run's.
        field: Where the student stands in the job's specification.

    Returns:
        The stages in order; a chain may end before the last one.

    Raises:
        InputRejected: `assistant_among_several`.
    """
    terms = objective.for_arm(spec.objective, arm)
    only = Stage("student", student, terms, arm, field)
    first = spec.teachers[0] if spec.teachers and arm != objective.NO_TEACHER else None
    if isinstance(first, SelfTeacher):
        alone = objective.for_arm(spec.objective, objective.NO_TEACHER)
        return _rounds(replace(only, terms=alone, arm=objective.NO_TEACHER), only, first)
    if arm == objective.NO_TEACHER:
        return (only,)
    between = [
        (place, one.assistant)
        for place, one in enumerate(spec.teachers)
        if isinstance(one, TeacherRef) and one.assistant is not None
    ]
    if not between:
        return (only,)
    place, assistant = between[0]
    if len(spec.teachers) > 1:
        raise InputRejected(
            "assistant_among_several",
            "An assistant stands between one teacher and the student; name one teacher, or "
            "leave the assistant out.",
            field=f"teachers.{place}.assistant",
        )
    middle = StudentSpec(name="assistant", network=assistant.network, input=student.input)
    before = Stage("assistant", middle, terms, arm, f"teachers.{place}.assistant")
    return (before, replace(only, after=before))


def _rounds(alone: Stage, taught: Stage, spec: SelfTeacher) -> tuple[Stage, ...]:
    found = [alone]
    for number in range(1, spec.self.rounds + 1):
        found.append(
            replace(taught, name=f"round {number}", draw=number, after=found[-1], must_improve=True)
        )
    return tuple(found)


def course_of(
    assignment: Assignment, spec: ResolvedJob, student: StudentSpec, *, seed: int, arm: str
) -> Course:
    """A run's course under the job's teachers, loaded where the objective or `init` needs them.

    What doesn't fit is refused as by `course.of_run` and `panel.load`.

    Args:
        assignment: The run, or the trial before it.
        spec: The job's.
        student: The student.
        seed: The run's.
        arm: The run's.

    Returns:
        The course.
    """
    made = course.of_run(assignment, spec, student, seed=seed, arm=arm)
    is_tied = isinstance(student.init, TeacherInit) and arm != objective.NO_TEACHER
    if made.panel is None and is_tied:
        return replace(made, panel=panel.load(assignment, spec, device=made.source.device))
    return made


def begin(
    stage: Stage, base: Course, *, files: Mapping[str, str], past: Past
) -> tuple[State, Course]:
    """A stage before its first step.

    What doesn't fit is refused as by `trial.build`, `initial.fill`, `Course.taught_by` and
    `Course.objective`.

    Args:
        stage: The stage.
        base: The run's course, under the job's teachers.
        files: Where given weights lie, by SHA-256.
        past: What the stages before left; in a trial nothing, and new weights stand for it.

    Returns:
        Its state and its course.
    """
    network = _build(stage, base)
    chosen = _course(stage, base, past=past)
    held = initial.fill(
        network,
        stage.student,
        first=_first(stage, base),
        course=chosen,
        files=files,
        field=stage.field,
    )
    state = states.begin(network, chosen.objective(network, stage.student), recipe=base.recipe)
    state.hold = held.restore if held.values else None
    return state, chosen


def _build(stage: Stage, base: Course) -> nn.Module:
    return trial.build(
        stage.student,
        seed=base.seed,
        draw=stage.draw,
        classes=base.classes,
        device=base.source.device,
        field=stage.field,
    )


def _course(stage: Stage, base: Course, *, past: Past) -> Course:
    if stage.after is not None:
        last = _last(stage.after, base, past=past)
        return base.taught_by(panel.of_teacher(last), stage.terms, stage.student)
    if stage.terms != base.terms:
        return base.taught_by(None, stage.terms, stage.student)
    return base


def _last(stage: Stage, base: Course, *, past: Past) -> Teacher:
    network = _build(stage, base)
    if past.weights:
        network.load_state_dict(past.weights)
    return teacher.of_network(
        network,
        spec=recipe.network(stage.student),
        fed=recipe.fed(stage.student),
        feed=base.feed,
        id=stage.name,
    )


def _first(stage: Stage, base: Course) -> Teacher | None:
    """The job's first teacher, where the stage begins at its weights."""
    if not isinstance(stage.student.init, TeacherInit) or stage.arm == objective.NO_TEACHER:
        return None
    first = base.panel.inside if base.panel else None
    if first is None:
        raise InputRejected(
            "needs_teacher_weights",
            "'from_teacher' needs a first teacher with weights; take another 'init'.",
            field=f"{stage.field}.init",
        )
    return first
