"""Students: trained when their weights are, final when the report run has judged them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import files, ids, plan
from core.tables import Dataset, Job, Run, Student
from stillhouse.spec import MINIMISED


def add(
    session: Session, job: Job, run: Run, result: dict[str, Any], listed: list[dict[str, Any]]
) -> Student:
    """Record what a train run left."""
    resolved = plan.spec_of(job, run.variant)
    spec = next(item for item in resolved["students"] if item["name"] == run.student)
    dataset = session.get(Dataset, job.dataset)
    select_by = str(resolved["select"]).removeprefix("validation_")
    value = (result.get("validation") or {}).get(select_by)
    student = Student(
        id=ids.new("stu"),
        tenant=job.tenant,
        created_by=job.created_by,
        name=str(run.student),
        job=job.id,
        teacher=job.teacher,
        dataset=job.dataset,
        run=run.id,
        status="trained",
        arm=str(run.arm),
        variant=run.variant,
        fold=run.fold,
        seed=run.seed or 0,
        files=sorted(listed, key=lambda file: str(file["path"])),
        metrics={"train": None, "validation": result.get("validation"), "test": None},
        network=spec["network"],
        input=spec["input"],
        classes=list((dataset.classes if dataset else None) or []),
        selected=None if value is None else (-value if select_by in MINIMISED else value),
        parameters=int(result.get("parameters") or 0),
        bytes=next(f["bytes"] for f in listed if f["path"] == "model.safetensors"),
    )
    session.add(student)
    session.flush()
    for file in listed:
        files.use(session, file["sha256"], student.id, "content")
    return student


def finish(
    session: Session, job: Job, result: dict[str, Any], listed: list[dict[str, Any]]
) -> None:
    """Make a job's students final: test metrics, card, report, predictions.

    Args:
        session: the transaction that ends the job.
        job: the job.
        result: the report run's: {"result", "students": {id: metrics by part}, …}.
        listed: files, each path below its student's id.
    """
    latencies = _latencies(result["result"])
    for student in of_job(session, job.id):
        own = [
            {**file, "path": str(file["path"]).removeprefix(f"{student.id}/")}
            for file in listed
            if str(file["path"]).startswith(f"{student.id}/")
        ]
        student.files = sorted([*student.files, *own], key=lambda file: str(file["path"]))
        student.metrics = result["students"][student.id]
        student.latency_ms = latencies.get(student.id)
        student.status = "final"
        student.version += 1
        for file in own:
            files.use(session, file["sha256"], student.id, "content")
    dataset = session.get(Dataset, job.dataset, with_for_update=True)
    if dataset is not None:
        dataset.test_opened += 1
        dataset.version += 1


def of_job(session: Session, job: str) -> list[Student]:
    """A job's students in the order in which they were trained."""
    return list(session.scalars(select(Student).where(Student.job == job).order_by(Student.id)))


def best(
    session: Session, job: str, *, max_latency_ms: float | None, max_bytes: int | None
) -> Student | None:
    """The best distilled student by validation within a budget; None if none fits.

    Ties go to fewer parameters, then to the earlier one, as in the report's `best`.
    """
    query = select(Student).where(Student.job == job, Student.selected.is_not(None))
    if max_latency_ms is not None:
        query = query.where(Student.latency_ms <= max_latency_ms)
    if max_bytes is not None:
        query = query.where(Student.bytes <= max_bytes)
    found = session.scalars(
        query.order_by(Student.selected.desc(), Student.parameters, Student.id)
    ).all()
    ranked = [student for student in found if student.arm == "distilled"] or list(found)
    return ranked[0] if ranked else None


def _latencies(result: dict[str, Any]) -> dict[str, float]:
    found = {}
    for arm in result["arms"]:
        single = [item["median_ms"] for item in arm["latency"] if item["batch"] == 1]
        found.update({student: single[0] for student in arm["students"] if single})
    return found
