"""What we answer, object by object. Times are RFC 3339 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zlib import crc32

from core.tables import Dataset, Event, Job, Key, Run, Student, Teacher, Worker
from core.waiting import Waiting

Answer = dict[str, Any]


def moment(seconds: float | None) -> str | None:
    """Seconds since 1970 as RFC 3339."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def etag(row: Teacher | Dataset | Job | Student | Key) -> str:
    """The object's id and version, quoted."""
    return f'"{row.id}.{row.version}"'


def job_etag(row: Job, why: Waiting | None) -> str:
    """As `etag`, and what it waits for: that changes without its version."""
    if why is None:
        return etag(row)
    return f'"{row.id}.{row.version}-{crc32(repr(why).encode()):08x}"'


def _named(row: Teacher | Dataset | Job | Student | Key, kind: str) -> Answer:
    return {
        "object": kind,
        "id": row.id,
        "name": row.name,
        "metadata": row.labels,
        "tenant": row.tenant,
        "created_by": row.created_by,
        "created_at": moment(row.created_at),
    }


def teacher(row: Teacher) -> Answer:
    """A teacher."""
    spec = row.spec
    return _named(row, "teacher") | {
        "status": row.status,
        "error": row.error,
        "job": row.job,
        "network": row.network or spec["network"],
        "input": row.input or spec["input"],
        "classes": row.classes,
        "trained_on": row.trained_on["seen"],
        "parameters": row.parameters,
        "macs": row.macs,
        "bytes": row.bytes,
        "sha256": row.sha256,
        "warnings": row.warnings,
        "weights": spec["weights"],
        "train": spec["train"],
        "outputs": spec.get("outputs"),
    }


def dataset(row: Dataset) -> Answer:
    """A dataset."""
    facts = row.facts
    return _named(row, "dataset") | {
        "status": row.status,
        "error": row.error,
        "task": row.spec["task"],
        "modality": row.spec["modality"],
        "format": facts.get("format") or row.spec["format"],
        "classes": row.classes if row.classes is not None else row.spec["classes"],
        "input": facts.get("input") or row.spec["input"],
        "rows": facts.get("rows"),
        "class_counts": facts.get("class_counts"),
        "duplicates": facts.get("duplicates"),
        "bytes": facts.get("bytes"),
        "fingerprint": facts.get("fingerprint"),
        "test_opened": row.test_opened,
        "splits": row.spec["splits"],
        "columns": row.spec["columns"],
        "source": row.spec["source"],
        "warnings": facts.get("warnings", []),
    }


def job(row: Job, why: Waiting | None) -> Answer:
    """A job, and what it waits for."""
    fraction = min(row.step / row.steps, 1.0) if row.steps else 0.0
    if row.status == "succeeded":
        fraction = 1.0
    return _named(row, "job") | {
        "status": row.status,
        "kind": row.kind,
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at),
        "progress": {
            "fraction": round(fraction if row.status == "succeeded" else fraction * 0.99, 4),
            "step": row.step,
            "steps": row.steps,
            "epoch": row.epoch,
            "eta_seconds": round(row.eta_seconds, 1),
        },
        "waiting": _waiting(why),
        "error": row.error,
        "attempts": row.attempts,
        "parent": row.parent,
        "priority": row.priority,
        "spec": row.spec,
        "resolved": row.resolved,
        "variants": _variants(row),
        "result": row.result,
    }


def _variants(row: Job) -> list[Answer] | None:
    """What a sweep's variants were given; null without a sweep, or while the inputs are checked."""
    if row.variants is None:
        return None
    return [{key: each[key] for key in ("name", "changes")} for each in row.variants]


def _waiting(why: Waiting | None) -> Answer | None:
    if why is None:
        return None
    return {"code": why.code, "position": why.position, "message": why.message}


def run(row: Run) -> Answer:
    """A run."""
    return {
        "object": "run",
        "id": row.id,
        "job": row.job,
        "kind": row.kind,
        "student": row.student,
        "arm": row.arm,
        "variant": row.variant,
        "fold": row.fold,
        "seed": row.seed,
        "status": row.status,
        "worker": row.worker,
        "device": row.device,
        "attempts": row.attempts,
        "step": row.step,
        "steps": row.steps,
        "epoch": row.epoch,
        "error": row.error,
        "created_at": moment(row.created_at),
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at),
    }


def student(row: Student) -> Answer:
    """A student."""
    return _named(row, "student") | {
        "job": row.job,
        "teacher": row.teacher,
        "dataset": row.dataset,
        "run": row.run,
        "arm": row.arm,
        "variant": row.variant,
        "fold": row.fold,
        "seed": row.seed,
        "status": row.status,
        "files": [{key: file[key] for key in ("path", "bytes", "sha256")} for file in row.files],
        "metrics": row.metrics,
        "network": row.network,
        "input": row.input,
        "classes": row.classes,
        "bytes": row.bytes,
        "latency_ms": row.latency_ms,
    }


def event(row: Event) -> Answer:
    """An event."""
    return {
        "object": "event",
        "id": row.id,
        "job": row.job,
        "created_at": moment(row.created_at),
        "type": row.type,
        "level": row.level,
        "run": row.run,
        "message": row.message,
        "data": row.data,
    }


def worker(row: Worker, status: str) -> Answer:
    """A worker."""
    return {
        "object": "worker",
        "id": row.id,
        "name": row.name,
        "status": status,
        "draining": row.is_draining,
        "kind": row.kind,
        "device": row.device,
        "memory_bytes": row.memory_bytes,
        "run": row.run,
        "version": row.software,
        "started_at": moment(row.started_at),
        # Before it has said that it lives it wasn't seen, whatever stands there.
        "last_seen_at": moment(row.last_seen_at) if row.last_seen_at >= row.started_at else None,
    }


def key(row: Key) -> Answer:
    """A key, without its secret: that is stored nowhere."""
    return _named(row, "key") | {
        "scopes": row.scopes,
        "last_used_at": moment(row.last_used_at),
        "revoked_at": moment(row.revoked_at),
    }


def report(row: Job) -> Answer:
    """A report: a superset of the result."""
    made = row.report or {}
    return {
        "object": "report",
        "job": row.id,
        "name": row.name,
        "kind": row.kind,
        "created_at": moment(row.created_at),
        "finished_at": moment(row.finished_at),
        "spec": row.spec,
        "resolved": row.resolved,
        "result": row.result,
        **made.get("extra", {}),
    }
