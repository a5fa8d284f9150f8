"""From a claimed run to what its child is told: files by path, never a credential."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from core import alignment, given, plan, references, runs, students
from core.files import converted
from core.inputs import transfer_rows
from core.settings import Settings
from core.tables import Dataset, Job, Run, Teacher
from stillhouse import __version__
from stillhouse.errors import InputRejected
from stillhouse.spec import (
    BlobRef,
    DatasetSpec,
    FilesRef,
    Outputs,
    PartSources,
    TeacherSpec,
    TextInput,
    UriRef,
)
from worker.inputs import Inputs
from worker.protocol import (
    Assignment,
    DatasetFiles,
    IntakeAssignment,
    TeacherFiles,
    TrainedStudent,
)

T = TypeVar("T")

_ROWS_OF = ("splits.json", "ids.npz")
PARTS_OF = {
    # The code that trains and selects cannot reach the test part: it isn't told where it lies.
    "estimate": ("train", "validation"),
    "prepare": ("train", "validation"),
    "train": ("train", "validation"),
    "report": ("train", "validation", "test"),
}


def for_intake(
    session: Session, run: Run, inputs: Inputs, settings: Settings, work: Path
) -> IntakeAssignment:
    """What an intake child is told.

    Raises `StillhouseError` if a file:// is not allowed or gone.
    """
    limits: Any = {"memory_bytes": settings.intake_memory_bytes}
    if run.teacher is not None:
        teacher = _need(session.get(Teacher, run.teacher))
        spec = TeacherSpec.model_validate(teacher.spec)
        assignment: IntakeAssignment = {
            "type": "intake",
            "kind": "teacher",
            "spec": teacher.spec,
            "sources": _teacher_sources(session, teacher.tenant, spec, inputs, settings),
            "work": str(work),
            "limits": limits,
        }
        if spec.outputs is not None:
            dataset = _told_of(session, spec.outputs)
            assignment["sources"] = _outputs_sources(spec.outputs, dataset, inputs)
            assignment["dataset_classes"] = dataset.classes or []
        return assignment
    dataset = _need(session.get(Dataset, run.dataset))
    return {
        "type": "intake",
        "kind": "dataset",
        "spec": dataset.spec,
        "sources": _dataset_sources(DatasetSpec.model_validate(dataset.spec), inputs, settings),
        "work": str(work),
        "limits": limits,
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


def _teacher_sources(
    session: Session, tenant: str, spec: TeacherSpec, inputs: Inputs, settings: Settings
) -> dict[str, str]:
    def stored(sha256: str) -> str:
        return inputs.path(converted(session, tenant, sha256) or sha256)

    tokenizer = spec.input.tokenizer if isinstance(spec.input, TextInput) else None
    beside = {name: inputs.path(sha256) for name, sha256 in (tokenizer or {}).items()}
    return _weight_sources(spec, stored, settings) | beside


def _weight_sources(
    spec: TeacherSpec, stored: Callable[[str], str], settings: Settings
) -> dict[str, str]:
    match spec.weights:
        case BlobRef(blob=sha256):
            return {"weights": stored(sha256)}
        case FilesRef(files=named):
            return {name: stored(sha256) for name, sha256 in named.items()}
        case UriRef(uri=uri, is_hub=True):
            return {"weights": uri}  # fetched when the transaction is over
        case UriRef(uri=uri):
            return _path_sources(references.resolve(uri, settings.roots), settings)
        case None:
            return {}


def _told_of(session: Session, outputs: Outputs) -> Dataset:
    dataset = session.get(Dataset, outputs.dataset)
    if dataset is None:
        raise InputRejected(
            "dataset_gone",
            f"The dataset {outputs.dataset} was deleted meanwhile; send the outputs of another.",
            field="outputs.dataset",
        )
    return dataset


def _outputs_sources(outputs: Outputs, dataset: Dataset, inputs: Inputs) -> dict[str, str]:
    listed = {name: dataset.files[name] for name in _ROWS_OF if name in dataset.files}
    return {"outputs": inputs.path(outputs.blob)} | {
        name: inputs.path(file["sha256"]) for name, file in listed.items()
    }


def _path_sources(path: Path, settings: Settings) -> dict[str, str]:
    if not path.is_dir():
        return {"weights": str(path)}
    # A Hub folder; a link in it may lead no further than the folder itself might.
    found = {
        item.name: references.resolve(item.as_uri(), settings.roots)
        for item in sorted(path.iterdir())
    }
    return {name: str(real) for name, real in found.items() if real.is_file()}


def _dataset_sources(spec: DatasetSpec, inputs: Inputs, settings: Settings) -> dict[str, str]:
    def located(source: BlobRef | UriRef) -> str:
        if isinstance(source, BlobRef):
            return inputs.path(source.blob)
        if source.is_hub:
            return source.uri  # fetched when the transaction is over
        return str(references.resolve(source.uri, settings.roots))

    if not isinstance(spec.source, PartSources):
        return {"source": located(spec.source)}
    parts = {
        "train": spec.source.train,
        "validation": spec.source.validation,
        "test": spec.source.test,
    }
    return {name: located(source) for name, source in parts.items() if source is not None}


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
