"""Teachers, datasets and students: what jobs are made of and what they leave."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import files, ids, inputs, jobs, runs, submissions, trained
from core.submissions import Submission
from core.tables import Dataset, Job, Run, Student, Teacher
from stillhouse.errors import (
    InputRejected,
    InUse,
    NotFound,
    ReferenceNotFound,
)
from stillhouse.spec import (
    BlobRef,
    DatasetSpec,
    FilesRef,
    PartSources,
    SeenParts,
    TeacherSpec,
    TextInput,
    UriRef,
)

T = TypeVar("T", Teacher, Dataset, Student, Job)

_KINDS: dict[type[Any], str] = {
    Teacher: "teacher",
    Dataset: "dataset",
    Student: "student",
    Job: "job",
}


def get(session: Session, kind: type[T], tenant: str, object_id: str) -> T:
    """An object of a tenant.

    Raises `NotFound` if there is none; another tenant's looks the same.
    """
    found = session.get(kind, object_id)
    if found is None or found.tenant != tenant:
        raise NotFound(f"There is no {_KINDS[kind]} '{object_id[:64]}'.")
    return found


def get_locked(session: Session, kind: type[T], tenant: str, object_id: str) -> T:
    """An object of a tenant that nobody else changes until the transaction ends.

    Raises `NotFound` if there is none; another tenant's looks the same.
    """
    session.get(kind, object_id, with_for_update=True)
    return get(session, kind, tenant, object_id)


def create_teacher(
    session: Session, tenant: str, spec: TeacherSpec, *, created_by: str | None = None
) -> Teacher:
    """Take a teacher in: an intake run for its bytes, or a job that trains it."""
    _require_seen(session, tenant, spec)
    _require_rows(session, tenant, spec)
    teacher = Teacher(
        id=ids.new("tch"),
        tenant=tenant,
        created_by=created_by,
        name=spec.name,
        labels=spec.metadata,
        status="validating",
        spec=_as_sent(spec),
        trained_on={"seen": spec.model_dump(mode="json")["trained_on"]},
        classes=list(spec.classes) if spec.classes else None,
    )
    if spec.train is not None:
        return _train_teacher(session, teacher, spec)
    session.add(teacher)
    session.flush()
    for sha256 in _named_blobs(spec):
        _use_source(session, tenant, sha256, teacher.id)
    runs.add_intake(session, tenant, teacher=teacher.id)
    return teacher


def _require_seen(session: Session, tenant: str, spec: TeacherSpec) -> None:
    """The proof depends on what a teacher has seen: it must name a dataset that is there."""
    if not isinstance(spec.trained_on, SeenParts):
        return
    dataset = session.get(Dataset, spec.trained_on.dataset)
    if dataset is None or dataset.tenant != tenant:
        raise ReferenceNotFound(
            f"There is no dataset '{spec.trained_on.dataset}'.", field="trained_on.dataset"
        )


def _require_rows(session: Session, tenant: str, spec: TeacherSpec) -> None:
    """Outputs are matched with a dataset's rows when they are taken in: it must be ready."""
    if spec.outputs is None:
        return
    dataset = session.get(Dataset, spec.outputs.dataset)
    if dataset is None or dataset.tenant != tenant:
        raise ReferenceNotFound(
            f"There is no dataset '{spec.outputs.dataset}'.", field="outputs.dataset"
        )
    if dataset.status != "ready":
        raise InputRejected(
            "dataset_not_ready",
            f"The dataset {dataset.id} is {dataset.status}; send outputs when it is ready.",
            field="outputs.dataset",
        )


def _as_sent(spec: TeacherSpec | DatasetSpec) -> dict[str, Any]:
    """A specification as JSON, its `input` without defaults.

    A size alone leaves gray images gray; "rgb" in so many words makes them rgb. Intake
    must be able to tell the one from the other.
    """
    dumped = spec.model_dump(mode="json")
    if spec.input is not None:
        dumped["input"] = spec.input.model_dump(mode="json", exclude_unset=True)
    return dumped


def create_dataset(
    session: Session, tenant: str, spec: DatasetSpec, *, created_by: str | None = None
) -> Dataset:
    """Take a dataset in: an intake run decodes and splits it."""
    dataset = Dataset(
        id=ids.new("ds"),
        tenant=tenant,
        created_by=created_by,
        name=spec.name,
        labels=spec.metadata,
        status="validating",
        spec=_as_sent(spec),
    )
    session.add(dataset)
    session.flush()
    for sha256 in _named_blobs(spec):
        _use_source(session, tenant, sha256, dataset.id)
    runs.add_intake(session, tenant, dataset=dataset.id)
    return dataset


def delete_teacher(session: Session, tenant: str, teacher_id: str) -> None:
    """Forget a teacher.

    Raises `InUse` if a job names it; `NotFound` if there is none.
    """
    teacher = get_locked(session, Teacher, tenant, teacher_id)
    _refuse_if_used(session, inputs.names(teacher=teacher_id))
    if teacher.job is not None and teacher.status == "training":
        raise InUse("A job is training it; cancel that job first.", used_by=[teacher.job])
    files.release(session, teacher_id)
    session.delete(teacher)


def delete_dataset(session: Session, tenant: str, dataset_id: str) -> None:
    """Forget a dataset.

    Raises `InUse` if a job names it; `NotFound` if there is none.
    """
    dataset = get_locked(session, Dataset, tenant, dataset_id)
    _refuse_if_used(session, inputs.names(dataset=dataset_id))
    files.release(session, dataset_id)
    session.delete(dataset)


def delete_student(session: Session, tenant: str, student_id: str) -> None:
    """Forget a student and what it would have served.

    Raises `NotFound` if there is none; `InUse` if its job is still running.
    """
    student = get_locked(session, Student, tenant, student_id)
    job = session.get(Job, student.job)
    if job is not None and job.status not in jobs.TERMINAL:
        raise InUse("Its job has not ended; cancel it first.", used_by=[student.job])
    files.release(session, student_id)
    session.delete(student)


def delete_job(session: Session, tenant: str, job_id: str, *, cascade: bool) -> None:
    """Forget a job that is over; `cascade` takes its students too."""
    job = jobs.require_over(get_locked(session, Job, tenant, job_id))
    if cascade:
        for student in session.scalars(select(Student).where(Student.job == job_id)):
            files.release(session, student.id)
            session.delete(student)
    for run_id in session.scalars(select(Run.id).where(Run.job == job_id)):
        files.release(session, run_id)
    files.release(session, job_id)
    session.delete(job)


def teacher_ready(session: Session, teacher: Teacher, result: dict[str, Any]) -> None:
    """Write what intake found; the jobs that wait for this teacher go on."""
    teacher.status = "ready"
    teacher.network, teacher.input = result["network"], result["input"]
    teacher.classes, teacher.class_count = result["classes"], result["class_count"]
    teacher.parameters, teacher.macs = result["parameters"], result.get("macs")
    teacher.warnings = result.get("warnings", [])
    teacher.sha256, teacher.bytes = result["sha256"], result["bytes"]
    teacher.version += 1
    tokenizer = (teacher.input or {}).get("tokenizer") or {}
    for sha256 in (teacher.sha256, *tokenizer.values()):
        files.use(session, sha256, teacher.id, "content")
    _forget_originals(session, teacher)
    session.flush()
    jobs.input_changed(session, teacher=teacher.id)


def dataset_ready(
    session: Session, dataset: Dataset, result: dict[str, Any], listed: dict[str, Any]
) -> None:
    """Write what intake found; the jobs that wait for this dataset go on."""
    dataset.status = "ready"
    dataset.classes = result["classes"]
    apart = ("classes", "pinned")
    dataset.facts = {key: value for key, value in result.items() if key not in apart}
    dataset.files = listed
    dataset.version += 1
    for file in listed.values():
        files.use(session, file["sha256"], dataset.id, "content")
    session.flush()
    jobs.input_changed(session, dataset=dataset.id)


def reject(session: Session, found: Teacher | Dataset, error: dict[str, Any]) -> None:
    """Write why it was refused; the jobs that wait for it fail with it."""
    found.status = "rejected"
    found.error = error
    found.version += 1
    files.release(session, found.id)
    session.flush()
    if isinstance(found, Teacher):
        jobs.input_changed(session, teacher=found.id)
    else:
        jobs.input_changed(session, dataset=found.id)


def _train_teacher(session: Session, teacher: Teacher, spec: TeacherSpec) -> Teacher:
    trained.begin(teacher, spec)
    session.add(teacher)
    session.flush()
    job = submissions.create(
        session,
        Submission(
            teacher.tenant, trained.job_spec(spec), created_by=teacher.created_by, kind="train"
        ),
    )
    teacher.job = job.id
    return teacher


def _named_blobs(spec: TeacherSpec | DatasetSpec) -> list[str]:
    if isinstance(spec, TeacherSpec):
        return sorted({*_of_source(spec.weights), *_beside_weights(spec)})
    return _of_source(spec.source)


def _beside_weights(spec: TeacherSpec) -> list[str]:
    outputs = [] if spec.outputs is None else [spec.outputs.blob]
    tokenizer = spec.input.tokenizer if isinstance(spec.input, TextInput) else None
    return [*outputs, *(tokenizer or {}).values()]


def _of_source(source: BlobRef | FilesRef | PartSources | UriRef | None) -> list[str]:
    match source:
        case BlobRef(blob=sha256):
            return [sha256]
        case FilesRef(files=named):
            return sorted(set(named.values()))
        case PartSources(train=train, validation=validation, test=test):
            parts = (train, validation, test)
            return sorted({part.blob for part in parts if isinstance(part, BlobRef)})
        case UriRef() | None:
            return []


def _use_source(session: Session, tenant: str, sha256: str, owner: str) -> None:
    if not files.uploaded(session, tenant, sha256):
        raise ReferenceNotFound(
            f"There is no blob {sha256}; send it first: PUT /v1/blobs/{sha256}.", field="blob"
        )
    files.use(session, files.converted(session, tenant, sha256) or sha256, owner, "source")


def _forget_originals(session: Session, teacher: Teacher) -> None:
    spec = TeacherSpec.model_validate(teacher.spec)
    files.release(session, teacher.id, role="source")
    if isinstance(spec.weights, BlobRef) and teacher.sha256 is not None:
        files.drop_original(session, teacher.tenant, spec.weights.blob, teacher.sha256)


def _refuse_if_used(session: Session, condition: Any) -> None:
    used_by = list(session.scalars(select(Job.id).where(condition).order_by(Job.id).limit(20)))
    if used_by:
        raise InUse("Jobs name it; delete them first.", used_by=used_by)
