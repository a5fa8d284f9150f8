"""What a run that ended well leaves: teachers, datasets, students, and the result of a job."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import catalog, jobs, students
from core.tables import Dataset, Job, Run, Teacher


def publish(
    session: Session,
    run: Run,
    job: Job | None,
    result: dict[str, Any],
    listed: list[dict[str, Any]],
) -> None:
    """Write what a run that ended well has made, in the transaction that ends it.

    Args:
        session: that transaction.
        run: the run.
        job: its job, locked; an intake has none.
        result: what its child found.
        listed: the files, already in the storage: {path, sha256, bytes}.
    """
    if run.kind == "intake":
        _publish_intake(session, run, result, listed)
    elif job is not None and run.kind == "prepare":
        jobs.prepared(session, job, result, device=str(run.device))
    elif job is not None and run.kind == "train":
        students.add(session, job, run, result, listed)
    elif job is not None and run.kind == "report":
        students.finish(session, job, result, listed)
        jobs.succeed(session, job, result["result"], result)
        _publish_teacher(session, job, result)


def _publish_intake(
    session: Session, run: Run, result: dict[str, Any], listed: list[dict[str, Any]]
) -> None:
    found = taken_in(session, run)
    found.spec = _pinned(found.spec, result.get("pinned", {}))
    if isinstance(found, Dataset):
        by_path = {
            file["path"]: {"sha256": file["sha256"], "bytes": file["bytes"]} for file in listed
        }
        catalog.dataset_ready(session, found, result, by_path)
    else:
        weights, *tokenizer = listed
        facts = result | {"sha256": weights["sha256"], "bytes": weights["bytes"]}
        if tokenizer:  # its files as the worker has hashed them, whatever the child says
            named = {file["path"]: file["sha256"] for file in tokenizer}
            facts["input"] = result["input"] | {"tokenizer": named}
        catalog.teacher_ready(session, found, facts)


def _pinned(spec: dict[str, Any], commits: dict[str, str]) -> dict[str, Any]:
    """A spec whose hf:// URIs name the commits that were read."""
    if not commits:
        return spec

    def pin(found: dict[str, Any]) -> dict[str, Any]:
        return found | {"uri": commits[found["uri"]]} if found.get("uri") in commits else found

    named = {key: spec[key] for key in ("weights", "source") if key in spec}
    return spec | dict(json.loads(json.dumps(named), object_hook=pin))


def _publish_teacher(session: Session, job: Job, result: dict[str, Any]) -> None:
    """A job that trains a teacher hands its student's weights over to it."""
    teacher = session.scalars(select(Teacher).where(Teacher.job == job.id)).one_or_none()
    if teacher is None or job.kind != "train":
        return
    student = students.of_job(session, job.id)[0]
    weights = next(file for file in student.files if file["path"] == "model.safetensors")
    arm = result["result"]["arms"][0]
    facts = {
        "network": student.network,
        "input": student.input,
        "classes": student.classes,
        "class_count": len(student.classes),
        "parameters": arm["parameters"],
        "macs": arm["macs"],
        "sha256": weights["sha256"],
        "bytes": weights["bytes"],
    }
    catalog.teacher_ready(session, teacher, facts)


def taken_in(session: Session, run: Run) -> Teacher | Dataset:
    """The teacher or dataset of an intake; raises `LookupError` if it isn't there."""
    found = (
        session.get(Teacher, run.teacher)
        if run.teacher is not None
        else session.get(Dataset, run.dataset)
    )
    if found is None:
        message = f"run {run.id} takes in what isn't there"
        raise LookupError(message)
    return found
