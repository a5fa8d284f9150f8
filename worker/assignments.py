"""From a claimed run to what its child is told: files by path, never a credential."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from core import alignment, given, plan, runs, students
from core.files import converted
from core.inputs import transfer_rows
from core.settings import Settings
from core.tables import Dataset, Job, Run, Teacher
from stillhouse import __version__
from worker.inputs import Inputs
from worker.protocol import (
    Assignment,
    DatasetFiles,
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


def for_trainer(
    session: Session, run: Run, inputs: Inputs, settings: Settings, *, work: Path, device: str,
    threads: int,
) -> Assignment:  # fmt: skip
    """What a trainer is told of a job's run, or of an estimate; of a checkpoint, nothing yet."""
    job = session.get(Job, run.job) if run.job else None
    found = _variants(run, job)
    spec = plan.spec_of(job, run.variant) if job and run.kind == "train" else found[0].spec
    dataset = _need(session.get(Dataset, spec["dataset"]))
    transfer = [_need(session.get(Dataset, each)) for each in spec["transfer"]]
    named = [ref for ref in spec["teachers"] if "id" in ref]
    teachers = [_need(session.get(Teacher, ref["id"])) for ref in named]
    kind: Any = run.kind
    return {
        "type": "run",
        "kind": kind,
        "run": run.id,
        "job": job.id if job else run.id,
        "job_kind": "train" if job is not None and job.kind == "train" else "distill",
        "spec": spec,
        "variants": []
        if run.kind == "train"
        else [{"name": one.name, "changes": one.changes, "spec": one.spec} for one in found],
        "student": run.student,
        "arm": run.arm,
        "variant": run.variant,
        "seed": run.seed,
        "teachers": [
            _teacher_files(teacher, ref, dataset, inputs, place)
            for place, (teacher, ref) in enumerate(zip(teachers, named, strict=True))
        ],
        "dataset": _dataset_files(dataset, inputs, PARTS_OF[run.kind]),
        "transfer": [_dataset_files(each, inputs, ("train",)) for each in transfer],
        "files": _files(session, run.tenant, [one.spec for one in found], teachers, inputs),
        "students": _trained(session, job, inputs) if run.kind == "report" else [],
        "prepared": job.prepared if job else None,
        "missing": _missing(session, job) if run.kind == "report" else [],
        "context": _context(job, dataset, transfer, list(zip(teachers, named, strict=True))),
        "work": str(work),
        "checkpoint": None,
        "checkpoint_seconds": settings.checkpoint_seconds,
        "device": device,
        # Sums depend on how many threads share them: a deterministic run has one, on any machine.
        "threads": 1 if spec["training"]["deterministic"] else threads,
    }


def _variants(run: Run, job: Job | None) -> list[plan.Resolved]:
    if job is not None:
        return plan.expanded(job.resolved or {}, job.variants)
    resolved = dict(run.spec or {})
    kept = resolved.pop("variants", None)
    return plan.expanded(resolved, kept)


def _files(
    session: Session,
    tenant: str,
    specs: list[dict[str, Any]],
    teachers: list[Teacher],
    inputs: Inputs,
) -> dict[str, str]:
    """What inputs and students name by SHA-256: tokenizers, and given weights."""
    named = set().union(*(given.of_spec(spec) for spec in specs))
    for teacher in teachers:
        named |= set(((teacher.input or {}).get("tokenizer") or {}).values())
    return {each: inputs.path(converted(session, tenant, each) or each) for each in sorted(named)}


def _teacher_files(
    teacher: Teacher, ref: dict[str, Any], dataset: Dataset, inputs: Inputs, place: int
) -> TeacherFiles:
    said = teacher.spec.get("outputs")
    return {
        "id": teacher.id,
        "network": teacher.network or {},
        "input": teacher.input or {},
        "classes": teacher.classes,
        "class_order": alignment.class_order(
            teacher, dataset, ref["class_map"], field=f"teachers.{place}"
        ),
        "trained_on": teacher.trained_on["seen"],
        "weights": None if said else inputs.path(str(teacher.sha256)),
        "outputs": inputs.path(str(teacher.sha256)) if said else None,
        "outputs_kind": said["kind"] if said else None,
        "bytes": teacher.bytes or 0,
    }


def _dataset_files(dataset: Dataset, inputs: Inputs, parts: tuple[str, ...]) -> DatasetFiles:
    found = {part: dataset.files.get(f"{part}.npz") for part in parts}
    return {
        "id": dataset.id,
        "classes": dataset.classes or [],
        "fingerprint": dataset.facts["fingerprint"],
        "parts": {
            part: inputs.path(file["sha256"]) for part, file in found.items() if file is not None
        },
    }


def _trained(session: Session, job: Job | None, inputs: Inputs) -> list[TrainedStudent]:
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
            "files": {file["path"]: inputs.path(file["sha256"]) for file in student.files},
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
            "variant": run.variant,
            "seed": run.seed,
            "code": (run.error or {}).get("code", run.status),
            "detail": (run.error or {}).get("detail", f"The run {run.status}."),
        }
        for run in runs.of_job(session, job.id, kind="train")
        if run.status in ("failed", "cancelled")
    ]


def _context(
    job: Job | None,
    dataset: Dataset,
    transfer: list[Dataset],
    teachers: list[tuple[Teacher, dict[str, Any]]],
) -> dict[str, Any]:
    warnings = list(dataset.facts.get("warnings", []))
    for teacher, ref in teachers:
        warnings += teacher.warnings
        warnings += alignment.warnings(teacher, dataset, ref["class_map"])
    return {
        "job_name": job.name if job else None,
        "created_at": job.created_at if job else None,
        "dataset_name": dataset.name,
        "teacher_names": [teacher.name for teacher, _ in teachers],
        "duplicates": dataset.facts.get("duplicates"),
        "test_opened": dataset.test_opened,
        "sweep": ((job.resolved if job else None) or {}).get("sweep"),
        "transfer_rows": transfer_rows(transfer),
        "version": __version__,
        "warnings": warnings,
    }


def _need(found: T | None) -> T:
    if found is None:
        message = "an object that a run needs is gone"
        raise LookupError(message)
    return found
