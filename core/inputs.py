"""What jobs build on: teachers, a dataset, and sets that are trained on as well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from core.tables import Dataset, Job, JobInput, Teacher
from stillhouse.errors import ReferenceNotFound, ReferenceRejected
from stillhouse.spec import JobSpec, TeacherRef

Kind = Literal["teacher", "dataset", "transfer"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one job builds on."""

    teachers: tuple[Teacher, ...]
    """In the spec's order; none where the student teaches itself, or nobody does."""
    dataset: Dataset
    transfer: tuple[Dataset, ...] = ()

    def each(self) -> Iterator[tuple[Kind, Teacher | Dataset]]:
        """All of them, and what each is for."""
        yield from (("teacher", teacher) for teacher in self.teachers)
        yield "dataset", self.dataset
        yield from (("transfer", dataset) for dataset in self.transfer)

    @property
    def are_ready(self) -> bool:
        """Whether all have been checked, and none was refused."""
        return all(found.status == "ready" for _, found in self.each())

    @property
    def train_rows(self) -> int:
        """How many rows an epoch has."""
        return int(self.dataset.facts["rows"]["train"]) + transfer_rows(self.transfer)


def transfer_rows(transfer: Iterable[Dataset]) -> int:
    """How many rows transfer sets add to those of the dataset's train part."""
    rows = [dataset.facts["rows"] for dataset in transfer]
    return sum(each["train"] or each["unlabelled"] for each in rows)


def require(session: Session, tenant: str, spec: JobSpec) -> Inputs:
    """What a spec names, ready or still being checked; teachers that it has trained are not there.

    Raises `ReferenceNotFound` if one isn't there; `ReferenceRejected` if one was rejected.
    """
    teachers = named_teachers(spec)
    transfer = {f"transfer.{place}": name for place, name in enumerate(spec.transfer)}
    # Shared locks: none is deleted, or gets ready unnoticed, while a job is made that names it.
    # Datasets come first and each kind in order of ids, as wherever both are locked.
    datasets = _locked(session, Dataset, {spec.dataset, *transfer.values()})
    named = _locked(session, Teacher, set(teachers.values()))
    return Inputs(
        teachers=tuple(_require(named, tenant, key, field) for field, key in teachers.items()),
        dataset=_require(datasets, tenant, spec.dataset, "dataset"),
        transfer=tuple(_require(datasets, tenant, key, field) for field, key in transfer.items()),
    )


def named_teachers(spec: JobSpec) -> dict[str, str]:
    """The ids of the teachers that a spec names, each by where it does."""
    return {
        f"teachers.{place}.id": teacher.id
        for place, teacher in enumerate(spec.teachers)
        if isinstance(teacher, TeacherRef)
    }


def of_job(session: Session, job: Job) -> Inputs:
    """What a job builds on."""
    first = [session.get_one(Teacher, job.teacher)] if job.teacher else []
    further = list(
        session.scalars(select(JobInput).where(JobInput.job == job.id).order_by(JobInput.place))
    )
    teachers = [session.get_one(Teacher, row.object) for row in further if row.kind == "teacher"]
    transfer = [session.get_one(Dataset, row.object) for row in further if row.kind == "transfer"]
    dataset = session.get_one(Dataset, job.dataset)
    return Inputs((*first, *teachers), dataset, tuple(transfer))


def further(job: str, inputs: Inputs) -> list[dict[str, Any]]:
    """The rows of what a job builds on beside its first teacher and its dataset."""
    rows = [
        *(("teacher", place, one.id) for place, one in enumerate(inputs.teachers) if place),
        *(("transfer", place, one.id) for place, one in enumerate(inputs.transfer)),
    ]
    return [{"job": job, "object": key, "kind": kind, "place": place} for kind, place, key in rows]


def names(*, teacher: str = "", dataset: str = "") -> ColumnElement[bool]:
    """Whether a job builds on a teacher or a dataset, in whatever place."""
    own = (Job.teacher == teacher) if teacher else (Job.dataset == dataset)
    listed = select(JobInput.job).where(JobInput.object == (teacher or dataset))
    return or_(own, Job.id.in_(listed))


def _locked(session: Session, kind: Any, keys: set[str]) -> dict[str, Any]:
    shared: Any = {"read": True}
    found = {key: session.get(kind, key, with_for_update=shared) for key in sorted(keys)}
    return {key: row for key, row in found.items() if row is not None}


def _require(found: dict[str, Any], tenant: str, key: str, field: str) -> Any:
    kind = "teacher" if key.startswith("tch_") else "dataset"
    row = found.get(key)
    if row is None or row.tenant != tenant:
        raise ReferenceNotFound(f"There is no {kind} '{key}'.", field=field)
    if row.status == "rejected":
        why = (row.error or {}).get("detail", "")
        raise ReferenceRejected(f"The {kind} '{key}' was rejected: {why}", field=field)
    return row
