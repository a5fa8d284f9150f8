"""What a user hands in becomes a job and its runs; many at once cost little more than one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import insert
from sqlalchemy.orm import Session

from core import files, fit, given, ids, inputs, jobs, line, trained
from core.inputs import Inputs
from core.tables import Event, Job, JobInput, JobLabel, Run, Teacher
from stillhouse.errors import SpecInvalid
from stillhouse.spec import JobSpec, planned, variants
from stillhouse.spec.planned import TrainRun

Rows = list[dict[str, Any]]
Table = type[Run | JobLabel | JobInput | Event]


@dataclass(frozen=True, slots=True)
class Submission:
    """A spec, and whose it is."""

    tenant: str
    spec: JobSpec
    created_by: str | None = None
    kind: Literal["distill", "train"] = "distill"


@dataclass(frozen=True, slots=True)
class _Draft:
    """A job that was checked, with what is written with it."""

    job: Job
    runs: list[TrainRun]
    inputs: Inputs
    files: set[str]


@dataclass(slots=True)
class Writing:
    """The jobs of one transaction: each is checked by itself, and all are written together."""

    session: Session
    _made: list[Job | Teacher] = field(default_factory=list)
    _files: list[tuple[str, str]] = field(default_factory=list)
    _rows: dict[Table, Rows] = field(
        default_factory=lambda: {Run: [], JobLabel: [], JobInput: [], Event: []}
    )
    _usable: dict[tuple[Any, ...], Inputs] = field(default_factory=dict)
    _turns: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, submission: Submission) -> Job:
        """A job with all its runs, and the teachers that it has trained; written by `write`.

        Raises `ReferenceNotFound` if it names what isn't there; `ReferenceRejected` if it names
        what was rejected; what `variants.expand`, `fit.require`, `given.require` and, where the
        inputs are ready, `plan.settle` raise.
        """
        usable = self._require_usable(submission.tenant, submission.spec)
        spec, by = submission.spec, submission.created_by
        teachers = [
            (teacher, self._training(replace(submission, spec=job, kind="train"), usable, field))
            for field, teacher, job in trained.wanted(spec, submission.tenant, created_by=by)
        ]
        made = [teacher for teacher, _ in teachers]
        draft = self._draft(submission, trained.placed(spec, usable, made))
        for teacher, training in teachers:  # nothing is kept of what is refused as a whole
            teacher.job = self._take(training).id
        self._made += made
        return self._take(draft)

    def write(self) -> None:
        """Write what was added: a statement a table."""
        self.session.add_all(self._made)
        self.session.flush()
        for table, rows in self._rows.items():
            if rows:
                # Not as objects: nobody needs them here, and a sweep has thousands.
                self.session.connection().execute(insert(table), rows)
        for sha256, job in self._files:
            files.use(self.session, sha256, job, "source")

    def _require_usable(self, tenant: str, spec: JobSpec) -> Inputs:
        key = (tenant, spec.dataset, spec.transfer, *inputs.named_teachers(spec).values())
        if key not in self._usable:
            self._usable[key] = inputs.require(self.session, tenant, spec)
        return self._usable[key]

    def _draft(self, submission: Submission, found: Inputs) -> _Draft:
        spec = submission.spec
        expanded = variants.expand(spec)
        named: set[str] = set()
        for variant in expanded:
            fit.require(variant.spec, found)
            named |= given.require(self.session, submission.tenant, variant.spec, found)
        runs = planned.runs(expanded)
        job = _job(submission, found)
        if found.are_ready:
            jobs.settle(job, spec, runs, found)
        return _Draft(job, runs, found, named)

    def _training(self, submission: Submission, usable: Inputs, field_: str) -> _Draft:
        try:
            return self._draft(submission, Inputs((), usable.dataset))
        except SpecInvalid as error:
            raise SpecInvalid(error.detail, field=f"{field_}.{error.field}") from error

    def _take(self, draft: _Draft) -> Job:
        job = draft.job
        self._made.append(job)
        self._files += [(sha256, job.id) for sha256 in sorted(draft.files)]
        self._rows[Run] += self._runs(draft)
        self._rows[JobInput] += inputs.further(job.id, draft.inputs)
        self._rows[JobLabel] += [
            {"job": job.id, "key": key, "value": value, "tenant": job.tenant}
            for key, value in job.labels.items()
        ]
        message = f"The job was accepted: {len(draft.runs)} training run(s)."
        self._rows[Event].append({"job": job.id, "type": "created", "message": message})
        return job

    def _runs(self, draft: _Draft) -> Rows:
        """One run prepares, one trains each network, one reports.

        Only the first is in line, if the job is ready. The others' `turn` is, until they join
        it, their place among those that join it together.
        """
        job, ready = draft.job, draft.inputs.are_ready
        device = str(job.spec.get("resources", {}).get("device", "auto"))
        rows = [_run(job, device, "prepare", ready=ready)]
        if ready:
            rows[0]["turn"] = self._turn(device, job.priority)
        for turn, run in enumerate(draft.runs, start=1):
            slot = f"train/{run.student}/{run.arm}/{run.variant or ''}//{run.seed}"
            own = {"student": run.student, "arm": run.arm, "variant": run.variant}
            rows.append(_run(job, device, slot) | own | {"seed": run.seed, "turn": turn})
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


def check(
    session: Session, tenant: str, spec: JobSpec
) -> tuple[Inputs, Sequence[variants.Variant]]:
    """What a spec names and its variants, checked as `Writing.add` does; nothing is written."""
    found = inputs.require(session, tenant, spec)
    expanded = variants.expand(spec)
    for variant in expanded:
        fit.require(variant.spec, found)
        given.require(session, tenant, variant.spec, found)
    return found, expanded


def _job(submission: Submission, found: Inputs) -> Job:
    spec = submission.spec
    return Job(
        id=ids.new("job"),
        tenant=submission.tenant,
        created_by=submission.created_by,
        kind=submission.kind,
        name=spec.name,
        labels=dict(spec.metadata),
        status="queued" if found.are_ready else "preparing",
        teacher=found.teachers[0].id if found.teachers else None,
        dataset=found.dataset.id,
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
        "variant": None,
        "seed": None,
        "slot": f"{job.id}/{slot}",
        "ready": ready,
        "turn": 0,
        "priority": job.priority,
        "device_kind": device,
    }
