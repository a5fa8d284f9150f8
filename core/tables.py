"""The rows. Times are seconds since 1970; `version` counts the writes and is the ETag."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import (
    BigInteger,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import JSON

# An id must sort by its bytes, whatever the database's locale.
ID = String(40).with_variant(String(40, collation="C"), "postgresql")
Document = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Serial = BigInteger().with_variant(Integer(), "sqlite")
# The line is a handful of runs among all that ever were: its index holds no others.
_QUEUED = "status = 'queued' AND ready"
_IN_LINE: Any = {"sqlite_where": text(_QUEUED), "postgresql_where": text(_QUEUED)}


class Base(DeclarativeBase):
    """Constraints have names, so that a migration can drop them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: Document, list[Any]: Document}  # noqa: RUF012  SQLAlchemy's


class Named:
    """What every object that a user names carries."""

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), default="default")
    created_by: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    version: Mapped[int] = mapped_column(Integer, default=1)
    name: Mapped[str | None] = mapped_column(String(64))
    labels: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    """The user's own pairs; `metadata` is SQLAlchemy's word."""


class Teacher(Named, Base):
    """A network with weights: validating, training, ready or rejected."""

    __tablename__ = "teachers"
    status: Mapped[str] = mapped_column(String(16))
    spec: Mapped[dict[str, Any]]
    error: Mapped[dict[str, Any] | None]
    network: Mapped[dict[str, Any] | None]
    input: Mapped[dict[str, Any] | None]
    classes: Mapped[list[Any] | None]
    class_count: Mapped[int | None]
    trained_on: Mapped[dict[str, Any]]
    """{"seen": …}: the declared parts, "disjoint" or "unknown"."""
    warnings: Mapped[list[Any]] = mapped_column(default=list)
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    macs: Mapped[int | None] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))
    job: Mapped[str | None] = mapped_column(ID)
    __table_args__ = (Index("ix_teachers_page", "tenant", "id"),)


class Dataset(Named, Base):
    """A dataset, decoded and split: validating, ready or rejected."""

    __tablename__ = "datasets"
    status: Mapped[str] = mapped_column(String(16))
    spec: Mapped[dict[str, Any]]
    error: Mapped[dict[str, Any] | None]
    classes: Mapped[list[Any] | None]
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What intake found: rows, class_counts, duplicates, input, bytes, fingerprint, preview."""
    files: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """{"train.npz": {"sha256", "bytes"}, …}."""
    test_opened: Mapped[int] = mapped_column(Integer, default=0)
    __table_args__ = (Index("ix_datasets_page", "tenant", "id"),)


class Job(Named, Base):
    """What a user asked for; `status` is written by `core.jobs` only."""

    __tablename__ = "jobs"
    kind: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    teacher: Mapped[str | None] = mapped_column(ID)
    dataset: Mapped[str] = mapped_column(ID)
    spec: Mapped[dict[str, Any]]
    resolved: Mapped[dict[str, Any] | None]
    variants: Mapped[list[Any] | None]
    """[{name, changes, settled}]: what a sweep's variants were given, and by pointer what their
    resolved specs differ in from `resolved`; None without a sweep."""
    result: Mapped[dict[str, Any] | None]
    report: Mapped[dict[str, Any] | None]
    prepared: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    parent: Mapped[str | None] = mapped_column(ID)
    priority: Mapped[int] = mapped_column(Integer, default=0)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    deadline_seconds: Mapped[int] = mapped_column(Integer, default=86_400)
    started_at: Mapped[float | None]
    training_at: Mapped[float | None]
    """When the first optimizer step could begin; the ETA counts from here."""
    finished_at: Mapped[float | None]
    step: Mapped[int] = mapped_column(BigInteger, default=0)
    steps: Mapped[int] = mapped_column(BigInteger, default=0)
    epoch: Mapped[int] = mapped_column(Integer, default=0)
    eta_seconds: Mapped[float] = mapped_column(Float, default=0.0)
    __table_args__ = (
        Index("ix_jobs_page", "tenant", "id"),
        Index("ix_jobs_status_page", "tenant", "status", "id"),
        Index("ix_jobs_teacher_page", "teacher", "id"),
        Index("ix_jobs_dataset_page", "dataset", "id"),
        Index("ix_jobs_queue", "status", "priority", "id"),
    )


class JobInput(Base):
    """What a job builds on beside its first teacher and its dataset, which are its own columns."""

    __tablename__ = "job_inputs"
    job: Mapped[str] = mapped_column(
        ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    object: Mapped[str] = mapped_column(ID, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    """teacher or transfer."""
    place: Mapped[int]
    """In the spec's list."""
    __table_args__ = (Index("ix_job_inputs_object", "object", "job"),)


class JobLabel(Base):
    """A job's metadata, a row a pair, so that a filter is an index look-up."""

    __tablename__ = "job_labels"
    job: Mapped[str] = mapped_column(
        ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(String(512))
    tenant: Mapped[str] = mapped_column(String(64))
    __table_args__ = (Index("ix_job_labels_page", "tenant", "key", "value", "job"),)


class Run(Base):
    """The unit that is leased; `status` is written by `core.runs` only."""

    __tablename__ = "runs"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), default="default")
    kind: Mapped[str] = mapped_column(String(16))
    job: Mapped[str | None] = mapped_column(ID, ForeignKey("jobs.id", ondelete="CASCADE"))
    teacher: Mapped[str | None] = mapped_column(ID, ForeignKey("teachers.id", ondelete="CASCADE"))
    dataset: Mapped[str | None] = mapped_column(ID, ForeignKey("datasets.id", ondelete="CASCADE"))
    student: Mapped[str | None] = mapped_column(String(64))
    arm: Mapped[str | None] = mapped_column(String(32))
    variant: Mapped[str | None] = mapped_column(String(64))
    fold: Mapped[int | None]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    slot: Mapped[str] = mapped_column(String(255))
    """owner/kind/student/arm/variant/fold/seed: unique, NULLs and all."""
    status: Mapped[str] = mapped_column(String(16), default="queued")
    ready: Mapped[bool] = mapped_column(default=True)
    """False while it waits for what it builds on."""
    priority: Mapped[int] = mapped_column(Integer, default=0)
    device_kind: Mapped[str] = mapped_column(String(16), default="auto")
    worker: Mapped[str | None] = mapped_column(String(128))
    device: Mapped[str | None] = mapped_column(String(128))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    fence: Mapped[int] = mapped_column(BigInteger, default=0)
    lease_expires_at: Mapped[float] = mapped_column(Float, default=0.0)
    not_before: Mapped[float] = mapped_column(Float, default=0.0)
    turn: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """Its place in the line among equal priorities: jobs take turns (see `core.line`)."""
    losses: Mapped[int] = mapped_column(Integer, default=0)
    """Times it was lost since it last made progress."""
    lost_step: Mapped[int] = mapped_column(BigInteger, default=0)
    step: Mapped[int] = mapped_column(BigInteger, default=0)
    steps: Mapped[int] = mapped_column(BigInteger, default=0)
    epoch: Mapped[int] = mapped_column(Integer, default=0)
    spec: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    __table_args__ = (
        UniqueConstraint("slot"),
        Index("ix_runs_line", "device_kind", "priority", "turn", "id", **_IN_LINE),
        Index("ix_runs_line_of_job", "job", "turn", "id", **_IN_LINE),
        Index("ix_runs_started", "device", "priority", "started_at"),
        Index("ix_runs_lease", "status", "lease_expires_at"),
        Index("ix_runs_job", "job", "id"),
        Index("ix_runs_teacher", "teacher"),
        Index("ix_runs_dataset", "dataset"),
    )


class Checkpoint(Base):
    """A checkpoint exists only if its row does."""

    __tablename__ = "checkpoints"
    run: Mapped[str] = mapped_column(
        ID, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
    )
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    fence: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class Metric(Base):
    """One value of one curve; a replay after a resume writes the same row again."""

    __tablename__ = "metrics"
    run: Mapped[str] = mapped_column(
        ID, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[float]


class LogChunk(Base):
    """A piece of a run's log."""

    __tablename__ = "log_chunks"
    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    run: Mapped[str] = mapped_column(ID, ForeignKey("runs.id", ondelete="CASCADE"))
    text: Mapped[str] = mapped_column(Text)
    __table_args__ = (Index("ix_log_chunks_run", "run", "id"),)


class Event(Base):
    """What happened to a job; append-only."""

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    job: Mapped[str] = mapped_column(ID, ForeignKey("jobs.id", ondelete="CASCADE"))
    run: Mapped[str | None] = mapped_column(ID)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    type: Mapped[str] = mapped_column(String(32))
    level: Mapped[str] = mapped_column(String(8), default="info")
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    __table_args__ = (Index("ix_events_job", "job", "id"),)


class Student(Named, Base):
    """What is served: trained, then final."""

    __tablename__ = "students"
    job: Mapped[str] = mapped_column(ID)
    teacher: Mapped[str | None] = mapped_column(ID)
    dataset: Mapped[str] = mapped_column(ID)
    run: Mapped[str] = mapped_column(ID)
    status: Mapped[str] = mapped_column(String(16))
    arm: Mapped[str] = mapped_column(String(32))
    variant: Mapped[str | None] = mapped_column(String(64))
    fold: Mapped[int | None]
    seed: Mapped[int] = mapped_column(BigInteger)
    files: Mapped[list[Any]]
    metrics: Mapped[dict[str, Any]]
    network: Mapped[dict[str, Any]]
    input: Mapped[dict[str, Any]]
    classes: Mapped[list[Any]]
    selected: Mapped[float | None]
    """The selection metric on validation; larger is better."""
    latency_ms: Mapped[float | None]
    """Median at batch 1, on the device of the report run."""
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    parameters: Mapped[int] = mapped_column(BigInteger, default=0)
    __table_args__ = (
        UniqueConstraint("run"),
        Index("ix_students_page", "tenant", "id"),
        Index("ix_students_job", "job", "id"),
        Index("ix_students_teacher", "teacher", "id"),
        Index("ix_students_dataset", "dataset", "id"),
    )


class File(Base):
    """Bytes in the storage, by hash."""

    __tablename__ = "files"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    touched_at: Mapped[float] = mapped_column(Float, default=time.time)


class FileUse(Base):
    """Who needs a file. A file that nobody needs is collected."""

    __tablename__ = "file_uses"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(80), primary_key=True)
    """`upload:<tenant>`, `backup`, or the id of a teacher, dataset, student or run."""
    role: Mapped[str] = mapped_column(String(16), primary_key=True)
    """upload, source (what a user's spec names), content (what we made), or a backup's name."""
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    __table_args__ = (Index("ix_file_uses_owner", "owner"),)


class Conversion(Base):
    """Weights that were converted once: the original's hash, and ours."""

    __tablename__ = "conversions"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    source: Mapped[str] = mapped_column(String(64), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))


class Worker(Base):
    """A supervisor and the device it serves."""

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    name: Mapped[str] = mapped_column(String(128), unique=True)
    status: Mapped[str] = mapped_column(String(16))
    device: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(16), default="cpu", server_default="cpu")
    """cpu or cuda: which runs it may take."""
    is_draining: Mapped[bool] = mapped_column(default=False, server_default=false())
    """It finishes what it has and takes nothing new."""
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    run: Mapped[str | None] = mapped_column(ID)
    software: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[float] = mapped_column(Float)
    last_seen_at: Mapped[float] = mapped_column(Float)


class Key(Named, Base):
    """A key that opens the API. The key itself is nowhere, only its hash."""

    __tablename__ = "keys"
    sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[Any]]
    last_used_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class Network(Base):
    """An architecture that a worker can build."""

    __tablename__ = "networks"
    family: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(
        String(128).with_variant(String(128, collation="C"), "postgresql"), primary_key=True
    )
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    macs: Mapped[int | None] = mapped_column(BigInteger)


class IdempotencyKey(Base):
    """A key, the hash of the body it came with, and the object it made."""

    __tablename__ = "idempotency_keys"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    path: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    object_id: Mapped[str] = mapped_column(ID)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
