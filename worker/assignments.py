"""From a claimed run to what its child is told: files by path, never a credential."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from core import references, resolve, runs, students
from core import storage as storage_module
from core.files import converted
from core.settings import Settings
from core.storage import Storage
from core.tables import Dataset, Job, Run, Teacher
from stillhouse import __version__
from stillhouse.errors import InputRejected
from stillhouse.spec import BlobRef, DatasetSpec, FilesRef, PartSources, TeacherSpec, UriRef
from worker.protocol import (
    Assignment,
    DatasetFiles,
    IntakeAssignment,
    TeacherFiles,
    TrainedStudent,
)

T = TypeVar("T")

PARTS_OF = {
    # The code that trains and selects cannot reach the test part: it isn't told where it lies.
    "estimate": ("train", "validation"),
    "prepare": ("train", "validation"),
    "train": ("train", "validation"),
    "report": ("train", "validation", "test"),
}


def for_intake(
    session: Session, run: Run, storage: Storage, settings: Settings, work: Path
) -> IntakeAssignment:
    """What an intake child is told.

    Raises `StillhouseError` if a file:// is not allowed or gone.
    """
    limits: Any = {"memory_bytes": settings.intake_memory_bytes}
    if run.teacher is not None:
        teacher = _need(session.get(Teacher, run.teacher))
        spec = TeacherSpec.model_validate(teacher.spec)
        sources = _teacher_sources(session, teacher.tenant, spec, storage, settings)
        return {
            "type": "intake",
            "kind": "teacher",
            "spec": teacher.spec,
            "sources": sources,
            "work": str(work),
            "limits": limits,
        }
    dataset = _need(session.get(Dataset, run.dataset))
    return {
        "type": "intake",
        "kind": "dataset",
        "spec": dataset.spec,
        "sources": _dataset_sources(DatasetSpec.model_validate(dataset.spec), storage, settings),
        "work": str(work),
        "limits": limits,
    }


def for_trainer(
    session: Session, run: Run, storage: Storage, settings: Settings, *, work: Path, device: str,
    threads: int, checkpoint: Path | None,
) -> Assignment:  # fmt: skip
    """What a trainer is told of a job's run, or of an estimate."""
    job = session.get(Job, run.job) if run.job else None
    spec: dict[str, Any] = (job.resolved if job else run.spec) or {}
    dataset = _need(session.get(Dataset, job.dataset if job else spec["dataset"]))
    teachers = [_need(session.get(Teacher, ref["id"])) for ref in spec["teachers"]]
    kind: Any = run.kind
    return {
        "type": "run",
        "kind": kind,
        "run": run.id,
        "job": job.id if job else run.id,
        "job_kind": "train" if job is not None and job.kind == "train" else "distill",
        "spec": spec,
        "student": run.student,
        "arm": run.arm,
        "seed": run.seed,
        "teachers": [_teacher_files(teacher, dataset, storage) for teacher in teachers],
        "dataset": _dataset_files(dataset, storage, PARTS_OF[run.kind]),
        "students": _trained(session, job, storage) if run.kind == "report" else [],
        "prepared": job.prepared if job else None,
        "missing": _missing(session, job) if run.kind == "report" else [],
        "context": _context(job, dataset, teachers),
        "work": str(work),
        "checkpoint": str(checkpoint) if checkpoint else None,
        "checkpoint_seconds": settings.checkpoint_seconds,
        "device": device,
        # Sums depend on how many threads share them: a deterministic run has one, on any machine.
        "threads": 1 if spec["training"]["deterministic"] else threads,
    }


def newest_checkpoint(session: Session, run: Run, storage: Storage) -> tuple[Path | None, int]:
    """The newest checkpoint whose bytes are what its row says, and how many weren't."""
    corrupt = 0
    for row in runs.checkpoints(session, run.id):
        path = storage.path(row.sha256)
        if path.is_file() and storage_module.digest(path)[0] == row.sha256:
            return path, corrupt
        corrupt += 1
    return None, corrupt


def _teacher_sources(
    session: Session, tenant: str, spec: TeacherSpec, storage: Storage, settings: Settings
) -> dict[str, str]:
    def stored(sha256: str) -> str:
        return _stored(storage, converted(session, tenant, sha256) or sha256)

    match spec.weights:
        case BlobRef(blob=sha256):
            return {"weights": stored(sha256)}
        case FilesRef(files=named):
            return {name: stored(sha256) for name, sha256 in named.items()}
        case UriRef(uri=uri):
            return _path_sources(references.resolve(uri, settings.roots), settings)
        case None:
            return {}


def _path_sources(path: Path, settings: Settings) -> dict[str, str]:
    if not path.is_dir():
        return {"weights": str(path)}
    # A Hub folder; a link in it may lead no further than the folder itself might.
    found = {
        item.name: references.resolve(item.as_uri(), settings.roots)
        for item in sorted(path.iterdir())
    }
    return {name: str(real) for name, real in found.items() if real.is_file()}


def _dataset_sources(spec: DatasetSpec, storage: Storage, settings: Settings) -> dict[str, str]:
    def located(source: BlobRef | UriRef) -> str:
        if isinstance(source, BlobRef):
            return _stored(storage, source.blob)
        return str(references.resolve(source.uri, settings.roots))

    if not isinstance(spec.source, PartSources):
        return {"source": located(spec.source)}
    parts = {
        "train": spec.source.train,
        "validation": spec.source.validation,
        "test": spec.source.test,
    }
    return {name: located(source) for name, source in parts.items() if source is not None}


def _teacher_files(teacher: Teacher, dataset: Dataset, storage: Storage) -> TeacherFiles:
    return {
        "id": teacher.id,
        "network": teacher.network or {},
        "input": teacher.input or {},
        "classes": teacher.classes,
        "class_order": resolve.class_order(teacher, dataset),
        "trained_on": teacher.trained_on["seen"],
        "weights": _stored(storage, str(teacher.sha256)),
        "bytes": teacher.bytes or 0,
    }


def _dataset_files(dataset: Dataset, storage: Storage, parts: tuple[str, ...]) -> DatasetFiles:
    found = {part: dataset.files.get(f"{part}.npz") for part in parts}
    return {
        "id": dataset.id,
        "classes": dataset.classes or [],
        "fingerprint": dataset.facts["fingerprint"],
        "parts": {
            part: _stored(storage, file["sha256"])
            for part, file in found.items()
            if file is not None
        },
    }


def _trained(session: Session, job: Job | None, storage: Storage) -> list[TrainedStudent]:
    if job is None:
        return []
    results = {run.id: run.result or {} for run in runs.of_job(session, job.id, kind="train")}
    return [
        {
            "id": student.id,
            "student": str(student.name),
            "arm": student.arm,
            "variant": student.variant,
            "fold": student.fold,
            "seed": student.seed,
            "files": {file["path"]: _stored(storage, file["sha256"]) for file in student.files},
            "result": results[student.run],
        }
        for student in students.of_job(session, job.id)
    ]


def _missing(session: Session, job: Job | None) -> list[dict[str, Any]]:
    if job is None:
        return []
    return [
        {
            "student": run.student,
            "arm": run.arm,
            "seed": run.seed,
            "code": (run.error or {}).get("code", run.status),
            "detail": (run.error or {}).get("detail", f"The run {run.status}."),
        }
        for run in runs.of_job(session, job.id, kind="train")
        if run.status in ("failed", "cancelled")
    ]


def _context(job: Job | None, dataset: Dataset, teachers: list[Teacher]) -> dict[str, Any]:
    warnings = list(dataset.facts.get("warnings", []))
    for teacher in teachers:
        warnings += [*teacher.warnings, *resolve.alignment_warnings(teacher, dataset)]
    return {
        "job_name": job.name if job else None,
        "created_at": job.created_at if job else None,
        "dataset_name": dataset.name,
        "teacher_names": [teacher.name for teacher in teachers],
        "duplicates": dataset.facts.get("duplicates"),
        "test_opened": dataset.test_opened,
        "version": __version__,
        "warnings": warnings,
    }


def _stored(storage: Storage, sha256: str) -> str:
    if not storage.has(sha256):
        raise InputRejected(
            "file_missing",
            f"The storage has lost {sha256}; restore it from a backup, or send the input again.",
        )
    return str(storage.path(sha256))


def _need(found: T | None) -> T:
    if found is None:
        message = "an object that a run needs is gone"
        raise LookupError(message)
    return found
