"""What a user hands in becomes a job and its runs; many at once cost little more than one."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

from sqlalchemy import insert
from sqlalchemy.orm import Session

from core import ids, jobs, line
from core.tables import Dataset, Event, Job, JobLabel, Run, Teacher
from stillhouse.errors import ReferenceNotFound, ReferenceRejected
from stillhouse.spec import JobSpec, ResolvedJob

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Submission:
    """A spec, and whose it is."""

    tenant: str
    spec: JobSpec
    created_by: str | None = None
    kind: Literal["distill", "train"] = "distill"


@dataclass(slots=True)
class Writing:
    """The jobs of one transaction: each is checked by itself, and all are written together."""

    session: Session
    _jobs: list[Job] = field(default_factory=list)
    _rows: dict[type[Run | JobLabel | Event], Rows] = field(
        default_factory=lambda: {Run: [], JobLabel: [], Event: []}
    )
    _usable: dict[tuple[str, str, str], tuple[Teacher | None, Dataset]] = field(
        default_factory=dict
    )
    _turns: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, submission: Submission) -> Job:
        """A job with all its runs, written by `write`.

        Raises `ReferenceNotFound` if it names what isn't there; `ReferenceRejected` if it names
        what was rejected; `ClassesDiffer` if teacher and dataset can't be aligned; `SpecInvalid`
        if the batch is larger than the data.
        """
        spec = submission.spec
        teacher, dataset = self._require_usable(submission.tenant, spec)
        ready = dataset.status == "ready" and (teacher is None or teacher.status == "ready")
        job = _job(submission, teacher, dataset, ready=ready)
        expanded = (
            jobs.settle(job, spec, teacher, dataset)
            if ready
            else ResolvedJob.model_validate(spec.model_dump())
        )
        self._jobs.append(job)
        self._rows[Run] += self._runs(job, expanded, ready=ready)
        self._rows[JobLabel] += [
            {"job": job.id, "key": key, "value": value, "tenant": job.tenant}
            for key, value in spec.metadata.items()
        ]
        count = spec.run_count if teacher else len(spec.seed_list)
        message = f"The job was accepted: {count} training run(s)."
        self._rows[Event].append({"job": job.id, "type": "created", "message": message})
        return job

    def write(self) -> None:
        """Write what was added: a statement a table."""
        self.session.add_all(self._jobs)
        self.session.flush()
        for table, rows in self._rows.items():
            if rows:
                # Not as objects: nobody needs them here, and a sweep has thousands.
                self.session.connection().execute(insert(table), rows)

    def _require_usable(self, tenant: str, spec: JobSpec) -> tuple[Teacher | None, Dataset]:
        key = (tenant, spec.teachers[0].id if spec.teachers else "", spec.dataset)
        if key not in self._usable:
            self._usable[key] = require_usable(self.session, tenant, spec)
        return self._usable[key]

    def _runs(self, job: Job, spec: ResolvedJob, *, ready: bool) -> Rows:
        """One run prepares, one trains each student, arm and seed, one reports.

        Only the first is in line, if the job is ready. The others' `turn` is, until they join
        it, their place among those that join it together.
        """
        device = spec.resources.device
        rows = [_run(job, device, "prepare", ready=ready)]
        if ready:
            rows[0]["turn"] = self._turn(device, spec.priority)
        trained = product(spec.students, spec.arms, spec.seed_list)
        for turn, (student, arm, seed) in enumerate(trained, start=1):
            slot = f"train/{student.name}/{arm}///{seed}"
            own = {"student": student.name, "arm": arm, "seed": seed, "turn": turn}
            rows.append(_run(job, device, slot) | own)
        return [*rows, _run(job, device, "report")]

    def _turn(self, device: str, priority: int) -> int:
        if (device, priority) not in self._turns:
            self._turns[device, priority] = line.now(self.session, device, priority)
        return self._turns[device, priority]


def create(session: Session, submission: Submission) -> Job:
    """Write one job; raises what `Writing.add` does."""
    writing = Writing(session)
    job = writing.add(submission)
    writing.write()
    return job


def require_usable(session: Session, tenant: str, spec: JobSpec) -> tuple[Teacher | None, Dataset]:
    """The teacher and the dataset that a spec names, ready or still being checked.

    Raises `ReferenceNotFound` if one isn't there; `ReferenceRejected` if one was rejected.
    """
    # Shared locks: neither is deleted, or gets ready unnoticed, while a job is made that names it.
    shared: Any = {"read": True}
    teacher = None
    if spec.teachers:
        teacher = session.get(Teacher, spec.teachers[0].id, with_for_update=shared)
        _require(teacher, tenant, "teacher", spec.teachers[0].id, "teachers.0.id")
    dataset = session.get(Dataset, spec.dataset, with_for_update=shared)
    _require(dataset, tenant, "dataset", spec.dataset, "dataset")
    if dataset is None:
        raise ReferenceNotFound
    return teacher, dataset


def _require(
    found: Teacher | Dataset | None, tenant: str, kind: str, object_id: str, field_: str
) -> None:
    if found is None or found.tenant != tenant:
        raise ReferenceNotFound(f"There is no {kind} '{object_id}'.", field=field_)
    if found.status == "rejected":
        why = (found.error or {}).get("detail", "")
        raise ReferenceRejected(f"The {kind} '{object_id}' was rejected: {why}", field=field_)


def _job(submission: Submission, teacher: Teacher | None, dataset: Dataset, *, ready: bool) -> Job:
    spec = submission.spec
    return Job(
        id=ids.new("job"),
        tenant=submission.tenant,
        created_by=submission.created_by,
        kind=submission.kind,
        name=spec.name,
        labels=dict(spec.metadata),
        status="queued" if ready else "preparing",
        teacher=teacher.id if teacher else None,
        dataset=dataset.id,
        spec=spec.model_dump(mode="json", exclude_unset=submission.kind == "distill"),
        priority=spec.priority,
        deadline_seconds=spec.limits.seconds,
        steps=0,
    )


def _run(job: Job, device: str, slot: str, *, ready: bool = False) -> dict[str, Any]:
    return {
        "id": ids.new("run"),
        "tenant": job.tenant,
        "job": job.id,
        "kind": slot.partition("/")[0],
        "student": None,
        "arm": None,
        "seed": None,
        "slot": f"{job.id}/{slot}",
        "ready": ready,
        "turn": 0,
        "priority": job.priority,
        "device_kind": device,
    }
