"""Files that a job's spec names itself: given weights, and tokenizers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy.orm import Session

from core import files
from core.inputs import Inputs
from stillhouse.errors import NotAvailable, ReferenceNotFound
from stillhouse.spec import BlobRef, GivenInit, JobSpec, TextInput


def require(session: Session, tenant: str, spec: JobSpec, inputs: Inputs) -> set[str]:
    """The files that a spec names: uploaded, or a teacher's own.

    Weights that are named by URI are `NotAvailable`.

    Args:
        session: a transaction.
        tenant: whose spec it is.
        spec: as sent, or one of its variants.
        inputs: what else it names.

    Returns:
        SHA-256 of what the job needs kept.

    Raises:
        ReferenceNotFound: if one isn't there.
    """
    theirs = {
        sha256
        for teacher in inputs.teachers
        for sha256 in ((teacher.input or {}).get("tokenizer") or {}).values()
    }
    found = set()
    for field, sha256 in _named(spec):
        if sha256 in theirs:
            found.add(sha256)
        elif files.uploaded(session, tenant, sha256):
            found.add(files.converted(session, tenant, sha256) or sha256)
        else:
            raise ReferenceNotFound(
                f"There is no blob {sha256}; send it first: PUT /v1/blobs/{sha256}.", field=field
            )
    return found


def of_spec(spec: dict[str, Any]) -> set[str]:
    """The files that the students of a resolved spec need, by SHA-256 as the spec names them."""
    found = set()
    for student in spec["students"]:
        found |= set((student["input"].get("tokenizer") or {}).values())
        weights = student["init"].get("weights") or {}
        found |= {weights["blob"]} if "blob" in weights else set()
    return found


def _named(spec: JobSpec) -> Iterator[tuple[str, str]]:
    for place, student in enumerate(spec.students):
        field = f"students.{place}"
        if isinstance(student.init, GivenInit):
            if not isinstance(student.init.weights, BlobRef):
                raise NotAvailable(
                    "A student's weights are uploaded: give them as {'blob': SHA-256}.",
                    field=f"{field}.init.weights",
                )
            yield f"{field}.init.weights.blob", student.init.weights.blob
        if isinstance(student.input, TextInput):
            for name, sha256 in (student.input.tokenizer or {}).items():
                yield f"{field}.input.tokenizer.{name}", sha256
