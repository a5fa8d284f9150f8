"""What a job would be and cost, checked on a worker; nothing is created."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from app.deps import State, StateDep, Tenant, Wait
from core import resolve, runs, submissions
from core.tables import Dataset, Run, Teacher
from stillhouse.errors import InputRejected, NoWorker, Unavailable
from stillhouse.spec import JobSpec, ResolvedJob

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

WAIT_SECONDS = 30.0
LOOK_SECONDS = 0.1


@router.post("/estimate", operation_id="estimate_job")
async def estimate(spec: JobSpec, state: StateDep, tenant: Tenant, wait: Wait) -> Response:
    """Resolve a spec, check its networks on a worker, and say what it would take.

    A worker that is busy is waited for, 30 s or what `Prefer: wait` says.
    """
    teacher, dataset = await run_in_threadpool(_inputs, state, tenant, spec)
    if dataset.status != "ready" or (teacher is not None and teacher.status != "ready"):
        return JSONResponse(_unmeasured(spec))
    resolved = resolve.job(spec, teacher=teacher, dataset=dataset)
    run_id = await run_in_threadpool(_ask, state, tenant, resolved)
    state.doorbell.ring()
    try:
        measured = await _answer_of(state, run_id, min(wait or WAIT_SECONDS, WAIT_SECONDS))
    finally:
        await run_in_threadpool(_remove, state, run_id)
    return JSONResponse(_estimate(resolved, dataset, teacher, measured))


def _inputs(state: State, tenant: str, spec: JobSpec) -> tuple[Teacher | None, Dataset]:
    with state.database.read() as session:
        return submissions.require_usable(session, tenant, spec)


def _ask(state: State, tenant: str, resolved: ResolvedJob) -> str:
    with state.database.write() as session:
        return runs.add_estimate(session, tenant, resolved).id


async def _answer_of(state: State, run_id: str, seconds: float) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run = await run_in_threadpool(_read, state, run_id)
        if run is not None and run.status == "succeeded":
            return run.result or {}
        if run is not None and run.status == "failed":
            error = dict(run.error or {})
            code, detail = error.pop("code", "internal"), error.pop("detail", "")
            if code in ("crash_loop", "internal"):
                raise Unavailable(f"The worker could not say: {detail}")
            raise InputRejected(code, detail, field=error.pop("field", None), **error)
        await asyncio.sleep(LOOK_SECONDS)
    raise NoWorker


def _read(state: State, run_id: str) -> Run | None:
    with state.database.read() as session:
        return session.get(Run, run_id)


def _remove(state: State, run_id: str) -> None:
    with state.database.write() as session:
        run = session.get(Run, run_id)
        if run is not None:
            session.delete(run)


def _unmeasured(spec: JobSpec) -> dict[str, Any]:
    message = "Teacher or dataset are still being checked; ask again when both are ready."
    return {
        "object": "estimate",
        "resolved": None,
        "runs": spec.run_count + 2,
        "seconds": {"low": None, "high": None},
        "memory_bytes": None,
        "storage_bytes": None,
        "teacher_forwards": None,
        "store_hits": None,
        "students": [{"name": student.name} for student in spec.students],
        "warnings": [{"code": "inputs_not_ready", "message": message}],
    }


def _estimate(
    resolved: ResolvedJob, dataset: Dataset, teacher: Teacher | None, measured: dict[str, Any]
) -> dict[str, Any]:
    rows = dataset.facts["rows"]
    steps = resolve.steps(resolved, rows["train"])
    seeds, arms = len(resolved.seed_list), len(resolved.arms)
    facts = measured["students"]
    names = [student.name for student in resolved.students]
    training = sum(facts[name]["step_seconds"] * steps * arms * seeds for name in names)
    forwards = _teacher_forwards(resolved, rows)
    item_seconds = [item["item_seconds"] for item in measured["teachers"].values()]
    seconds = training + forwards * sum(item_seconds)
    student_bytes = sum(facts[name]["bytes"] for name in names) * arms * seeds
    largest = max(facts[name]["bytes"] for name in names)
    warnings = resolve.alignment_warnings(teacher, dataset) if teacher else []
    return {
        "object": "estimate",
        "resolved": resolved.model_dump(mode="json"),
        "runs": resolved.run_count + 2,
        "seconds": {"low": round(seconds * 0.8, 1), "high": round(seconds * 1.6 + 10, 1)},
        # Weights, gradients, two moments and the best epoch's copy; then teacher and data.
        "memory_bytes": largest * 5
        + ((teacher.bytes or 0) if teacher else 0)
        + int(dataset.facts.get("bytes") or 0),
        "storage_bytes": student_bytes
        + rows["test"] * len(dataset.classes or []) * 4 * arms * seeds,
        "teacher_forwards": forwards,
        "store_hits": 0,
        "students": [{"name": name, **facts[name]} for name in names],
        "warnings": warnings + measured.get("warnings", []),
    }


def _teacher_forwards(resolved: ResolvedJob, rows: dict[str, int]) -> int:
    """Every part once for the report, train and validation once to prepare, and the views."""
    if not resolved.teachers:
        return 0
    views, epochs = resolved.training.views, resolved.training.epochs
    each = int(epochs) if views == "fresh" else min(int(views), int(epochs))
    distilled = len(resolved.students) * len(resolved.seed_list)
    prepared = rows["train"] + rows["validation"]
    return each * rows["train"] * distilled + 2 * prepared + rows["test"]
