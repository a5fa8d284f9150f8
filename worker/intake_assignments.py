"""From a claimed intake to what its child is told: files by path, never a credential."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from core import references
from core.files import converted
from core.settings import Settings
from core.tables import Dataset, Run, Teacher
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
    IntakeAssignment,
)

T = TypeVar("T")

_ROWS_OF = ("splits.json", "ids.npz")


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


def _need(found: T | None) -> T:
    if found is None:
        message = "an object that a run needs is gone"
        raise LookupError(message)
    return found
