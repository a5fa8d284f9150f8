"""Teachers that are trained here: what trains them, and those that a job has trained first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from core import ids
from core.inputs import Inputs
from core.tables import Teacher
from stillhouse.errors import SpecInvalid
from stillhouse.spec import (
    JobSpec,
    ResolvedJob,
    TeacherSpec,
    TrainedTeacher,
    TrainHere,
)

_SUFFIX = "-teacher"
_LONGEST_NAME = 64


def job_spec(spec: TeacherSpec, **more: Any) -> ResolvedJob:
    """The job that trains a teacher: one student, with labels alone.

    Args:
        spec: of a teacher with `train`.
        **more: fields of the job.

    Returns:
        Its spec; fields that are "auto" are still to be resolved.

    Raises:
        SpecInvalid: if the network isn't named.
    """
    here = spec.train
    if here is None or spec.network is None:
        raise SpecInvalid("'network' is required.", field="network")
    student = {"name": spec.name, "network": spec.network, "input": spec.input}
    fields = {
        "name": spec.name,
        "dataset": here.dataset,
        "students": [student],
        "objective": [{"kind": "labels", "weight": 1.0}],
        "training": here.training,
        "controls": (),
        "seeds": (here.seed,),
    }
    return ResolvedJob.model_validate(fields | more)


def begin(teacher: Teacher, spec: TeacherSpec) -> None:
    """Say that a teacher is being trained, and on what."""
    if spec.train is not None:
        teacher.status = "training"
        seen = {"dataset": spec.train.dataset, "parts": ["train", "validation"]}
        teacher.trained_on = {"seen": seen}


def wanted(
    spec: JobSpec, tenant: str, *, created_by: str | None
) -> list[tuple[str, Teacher, ResolvedJob]]:
    """The teachers that a job has trained: where the spec has them, themselves, what trains them.

    None is written yet. Each has an id of its own and can be used again. Its job has the device
    and the priority of the one that waits for it.
    """
    like = {"resources": spec.resources, "priority": spec.priority}
    made: list[tuple[str, Teacher, ResolvedJob]] = []
    for place, one in enumerate(spec.teachers):
        if not isinstance(one, TrainedTeacher):
            continue
        own = TeacherSpec(
            name=_name(spec, len(made) + 1),
            network=one.train.network,
            train=TrainHere(dataset=spec.dataset, training=one.train.training, seed=one.train.seed),
        )
        teacher = Teacher(
            id=ids.new("tch"),
            tenant=tenant,
            created_by=created_by,
            name=own.name,
            labels={},
            spec=own.model_dump(mode="json"),
        )
        begin(teacher, own)
        made.append((f"teachers.{place}.train", teacher, job_spec(own, **like)))
    return made


def placed(spec: JobSpec, named: Inputs, made: Sequence[Teacher]) -> Inputs:
    """What a job builds on, each trained teacher where the spec has it."""
    if not made:
        return named
    there, new = iter(named.teachers), iter(made)
    order = [next(new if isinstance(one, TrainedTeacher) else there) for one in spec.teachers]
    return replace(named, teachers=tuple(order))


def _name(spec: JobSpec, number: int) -> str:
    suffix = _SUFFIX if number == 1 else f"{_SUFFIX}-{number}"
    return f"{(spec.name or 'job')[: _LONGEST_NAME - len(suffix)]}{suffix}"
