"""What a job would be and cost, checked on a worker; nothing is created."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from app.deps import State, StateDep, Tenant, Wait
from core import alignment, plan, resolve, runs, submissions
from core.inputs import Inputs
from core.tables import Run
from stillhouse.errors import InputRejected, NoWorker, Unavailable
from stillhouse.spec import (
    JobSpec,
    ObjectiveTerm,
    ResolvedJob,
    SelfTeacher,
    TrainedTeacher,
    methods,
    planned,
    variants,
)
from stillhouse.spec.planned import TrainRun

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

WAIT_SECONDS = 30.0
LOOK_SECONDS = 0.1


@router.post("/estimate", operation_id="estimate_job")
async def estimate(spec: JobSpec, state: StateDep, tenant: Tenant, wait: Wait) -> Response:
    """Resolve a spec, check its networks on a worker, and say what it would take.

    A worker that is busy is waited for, 30 s or what `Prefer: wait` says.
    """
    inputs, expanded = await run_in_threadpool(_check, state, tenant, spec)
    to_train = planned.runs(expanded)
    if not inputs.are_ready or any(isinstance(one, TrainedTeacher) for one in spec.teachers):
        return JSONResponse(_unmeasured(spec, to_train))
    resolved, kept = await run_in_threadpool(plan.settle, spec, inputs)
    run_id = await run_in_threadpool(_ask, state, tenant, resolved, kept)
    state.doorbell.ring()
    try:
        measured = await _answer_of(state, run_id, min(wait or WAIT_SECONDS, WAIT_SECONDS))
    finally:
        await run_in_threadpool(_remove, state, run_id)
    found = plan.expanded(resolved, kept)
    return JSONResponse(_estimate(resolved, found, to_train, inputs, measured))


def _check(state: State, tenant: str, spec: JobSpec) -> tuple[Inputs, Sequence[variants.Variant]]:
    with state.database.read() as session:
        return submissions.check(session, tenant, spec)


def _ask(
    state: State, tenant: str, resolved: dict[str, Any], kept: list[dict[str, Any]] | None
) -> str:
    with state.database.write() as session:
        return runs.add_estimate(session, tenant, resolved, kept).id


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


def _unmeasured(spec: JobSpec, to_train: list[TrainRun]) -> dict[str, Any]:
    message = "Some inputs are still to be checked or trained; ask again when all are ready."
    return {
        "object": "estimate",
        "resolved": None,
        "variants": None,
        "runs": len(to_train) + 2,
        "seconds": {"low": None, "high": None},
        "memory_bytes": None,
        "storage_bytes": None,
        "teacher_forwards": None,
        "store_hits": None,
        "students": [{"name": student.name} for student in spec.students],
        "warnings": [{"code": "inputs_not_ready", "message": message}],
    }


def _estimate(
    resolved: dict[str, Any],
    found: list[plan.Resolved],
    to_train: list[TrainRun],
    inputs: Inputs,
    measured: dict[str, Any],
) -> dict[str, Any]:
    rows = inputs.dataset.facts["rows"]
    specs = {one.name: ResolvedJob.model_validate(one.spec) for one in found}
    shared = specs[found[0].name]
    facts = measured["students"]
    training, forwards = 0.0, 0
    for run in to_train:
        spec = specs.get(run.variant, shared)
        step_seconds = facts[run.student]["step_seconds"] or 0.0
        training += step_seconds * resolve.steps(spec, inputs.train_rows, arm=run.arm)
        forwards += _views(spec) * inputs.train_rows if run.arm == "distilled" else 0
    if inputs.teachers:  # each is scored on all parts for the report, on two to prepare
        forwards += 2 * (rows["train"] + rows["validation"]) + rows["test"]
    item_seconds = [item["item_seconds"] or 0.0 for item in measured["teachers"].values()]
    seconds = training + forwards * sum(item_seconds)
    sizes = {name: facts[name]["bytes"] for name in facts}
    outputs = rows["test"] * len(inputs.dataset.classes or []) * 4
    return {
        "object": "estimate",
        "resolved": resolved,
        "variants": None
        if resolved["sweep"] is None
        else [{"name": one.name, "changes": one.changes} for one in found],
        "runs": len(to_train) + 2,
        "seconds": {"low": round(seconds * 0.8, 1), "high": round(seconds * 1.6 + 10, 1)},
        # Weights, gradients, two moments and the best epoch's copy; then teachers and data.
        "memory_bytes": max(sizes.values()) * 5
        + sum(teacher.bytes or 0 for teacher in inputs.teachers)
        + sum(int(one.facts.get("bytes") or 0) for one in (inputs.dataset, *inputs.transfer)),
        "storage_bytes": sum(sizes[run.student] + outputs for run in to_train),
        "teacher_forwards": forwards,
        "store_hits": 0,
        "students": [{"name": student.name, **facts[student.name]} for student in shared.students],
        "warnings": _alignment(resolved, inputs) + measured.get("warnings", []),
    }


def _alignment(resolved: dict[str, Any], inputs: Inputs) -> list[dict[str, str]]:
    pairs = zip(inputs.teachers, resolved["teachers"], strict=False)
    return [
        warning
        for teacher, ref in pairs
        for warning in alignment.warnings(teacher, inputs.dataset, ref["class_map"])
    ]


def _views(spec: ResolvedJob) -> int:
    """How often a distilled run asks its teachers about each row, at most."""
    if not spec.teachers or not any(_asks(term) for term in spec.objective if term.weight > 0):
        return 0
    views, epochs = spec.training.views, int(spec.training.epochs)
    each = epochs if views == "fresh" else min(int(views), epochs)
    # The first network of a student that teaches itself learns from labels alone.
    is_alone = isinstance(spec.teachers[0], SelfTeacher)
    return each * (resolve.stages(spec) - is_alone)


def _asks(term: ObjectiveTerm) -> bool:
    return bool(methods.needs(term) & {"teacher_logits", "teacher_class", "features"})
