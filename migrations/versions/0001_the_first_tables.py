"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql")
DOCUMENT = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True), "postgresql"
)
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "conversions",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "source", name=op.f("pk_conversions")),
    )
    op.create_table(
        "datasets",
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.Column("error", DOCUMENT, nullable=True),
        sa.Column("classes", DOCUMENT, nullable=True),
        sa.Column("facts", DOCUMENT, nullable=False),
        sa.Column("files", DOCUMENT, nullable=False),
        sa.Column("test_opened", sa.Integer(), nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=True),
        sa.Column("metadata", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
    )
    op.create_index("ix_datasets_page", "datasets", ["tenant", "id"], unique=False)

    op.create_table(
        "file_uses",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", "owner", "role", name=op.f("pk_file_uses")),
    )
    op.create_index("ix_file_uses_owner", "file_uses", ["owner"], unique=False)

    op.create_table(
        "files",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("touched_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_files")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("object_id", ID, nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "path", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "jobs",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("teacher", ID, nullable=True),
        sa.Column("dataset", ID, nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.Column("resolved", DOCUMENT, nullable=True),
        sa.Column("result", DOCUMENT, nullable=True),
        sa.Column("report", DOCUMENT, nullable=True),
        sa.Column("prepared", DOCUMENT, nullable=True),
        sa.Column("error", DOCUMENT, nullable=True),
        sa.Column("parent", ID, nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("deadline_seconds", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("training_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("eta_seconds", sa.Float(), nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=True),
        sa.Column("metadata", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_dataset_page", "jobs", ["dataset", "id"], unique=False)
    op.create_index("ix_jobs_page", "jobs", ["tenant", "id"], unique=False)
    op.create_index("ix_jobs_queue", "jobs", ["status", "priority", "id"], unique=False)
    op.create_index("ix_jobs_status_page", "jobs", ["tenant", "status", "id"], unique=False)
    op.create_index("ix_jobs_teacher_page", "jobs", ["teacher", "id"], unique=False)

    op.create_table(
        "networks",
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column(
            "name",
            sa.String(length=128).with_variant(sa.String(length=128, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("parameters", sa.BigInteger(), nullable=True),
        sa.Column("macs", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("family", "name", name=op.f("pk_networks")),
    )
    op.create_table(
        "students",
        sa.Column("job", ID, nullable=False),
        sa.Column("teacher", ID, nullable=True),
        sa.Column("dataset", ID, nullable=False),
        sa.Column("run", ID, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("arm", sa.String(length=32), nullable=False),
        sa.Column("variant", sa.String(length=64), nullable=True),
        sa.Column("fold", sa.Integer(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("files", DOCUMENT, nullable=False),
        sa.Column("metrics", DOCUMENT, nullable=False),
        sa.Column("network", DOCUMENT, nullable=False),
        sa.Column("input", DOCUMENT, nullable=False),
        sa.Column("classes", DOCUMENT, nullable=False),
        sa.Column("selected", sa.Double(), nullable=True),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("parameters", sa.BigInteger(), nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=True),
        sa.Column("metadata", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_students")),
        sa.UniqueConstraint("run", name=op.f("uq_students_run")),
    )
    op.create_index("ix_students_dataset", "students", ["dataset", "id"], unique=False)
    op.create_index("ix_students_job", "students", ["job", "id"], unique=False)
    op.create_index("ix_students_page", "students", ["tenant", "id"], unique=False)
    op.create_index("ix_students_teacher", "students", ["teacher", "id"], unique=False)

    op.create_table(
        "teachers",
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.Column("error", DOCUMENT, nullable=True),
        sa.Column("network", DOCUMENT, nullable=True),
        sa.Column("input", DOCUMENT, nullable=True),
        sa.Column("classes", DOCUMENT, nullable=True),
        sa.Column("class_count", sa.Integer(), nullable=True),
        sa.Column("trained_on", DOCUMENT, nullable=False),
        sa.Column("warnings", DOCUMENT, nullable=False),
        sa.Column("parameters", sa.BigInteger(), nullable=True),
        sa.Column("macs", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("job", ID, nullable=True),
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=True),
        sa.Column("metadata", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teachers")),
    )
    op.create_index("ix_teachers_page", "teachers", ["tenant", "id"], unique=False)

    op.create_table(
        "workers",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("device", sa.String(length=128), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("run", ID, nullable=True),
        sa.Column("software", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("last_seen_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
        sa.UniqueConstraint("name", name=op.f("uq_workers_name")),
    )
    op.create_table(
        "events",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("job", ID, nullable=False),
        sa.Column("run", ID, nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", DOCUMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_events_job_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_job", "events", ["job", "id"], unique=False)

    op.create_table(
        "job_labels",
        sa.Column("job", ID, nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=512), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_job_labels_job_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "key", name=op.f("pk_job_labels")),
    )
    op.create_index(
        "ix_job_labels_page", "job_labels", ["tenant", "key", "value", "job"], unique=False
    )

    op.create_table(
        "runs",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("job", ID, nullable=True),
        sa.Column("teacher", ID, nullable=True),
        sa.Column("dataset", ID, nullable=True),
        sa.Column("student", sa.String(length=64), nullable=True),
        sa.Column("arm", sa.String(length=32), nullable=True),
        sa.Column("variant", sa.String(length=64), nullable=True),
        sa.Column("fold", sa.Integer(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("slot", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("device_kind", sa.String(length=16), nullable=False),
        sa.Column("worker", sa.String(length=128), nullable=True),
        sa.Column("device", sa.String(length=128), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lease_expires_at", sa.Float(), nullable=False),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("lost_step", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("spec", DOCUMENT, nullable=True),
        sa.Column("result", DOCUMENT, nullable=True),
        sa.Column("error", DOCUMENT, nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset"], ["datasets.id"], name=op.f("fk_runs_dataset_datasets"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_runs_job_jobs"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["teacher"], ["teachers.id"], name=op.f("fk_runs_teacher_teachers"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("slot", name=op.f("uq_runs_slot")),
    )
    op.create_index("ix_runs_claim", "runs", ["status", "ready", "priority", "id"], unique=False)
    op.create_index("ix_runs_dataset", "runs", ["dataset"], unique=False)
    op.create_index("ix_runs_job", "runs", ["job", "id"], unique=False)
    op.create_index("ix_runs_lease", "runs", ["status", "lease_expires_at"], unique=False)
    op.create_index("ix_runs_teacher", "runs", ["teacher"], unique=False)

    op.create_table(
        "checkpoints",
        sa.Column("run", ID, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"], ["runs.id"], name=op.f("fk_checkpoints_run_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run", "step", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "log_chunks",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("run", ID, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"], ["runs.id"], name=op.f("fk_log_chunks_run_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_chunks")),
    )
    op.create_index("ix_log_chunks_run", "log_chunks", ["run", "id"], unique=False)

    op.create_table(
        "metrics",
        sa.Column("run", ID, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"], ["runs.id"], name=op.f("fk_metrics_run_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run", "name", "step", name=op.f("pk_metrics")),
    )


def downgrade() -> None:
    op.drop_table("metrics")
    op.drop_index("ix_log_chunks_run", table_name="log_chunks")

    op.drop_table("log_chunks")
    op.drop_table("checkpoints")
    op.drop_index("ix_runs_teacher", table_name="runs")
    op.drop_index("ix_runs_lease", table_name="runs")
    op.drop_index("ix_runs_job", table_name="runs")
    op.drop_index("ix_runs_dataset", table_name="runs")
    op.drop_index("ix_runs_claim", table_name="runs")

    op.drop_table("runs")
    op.drop_index("ix_job_labels_page", table_name="job_labels")

    op.drop_table("job_labels")
    op.drop_index("ix_events_job", table_name="events")

    op.drop_table("events")
    op.drop_table("workers")
    op.drop_index("ix_teachers_page", table_name="teachers")

    op.drop_table("teachers")
    op.drop_index("ix_students_teacher", table_name="students")
    op.drop_index("ix_students_page", table_name="students")
    op.drop_index("ix_students_job", table_name="students")
    op.drop_index("ix_students_dataset", table_name="students")

    op.drop_table("students")
    op.drop_table("networks")
    op.drop_index("ix_jobs_teacher_page", table_name="jobs")
    op.drop_index("ix_jobs_status_page", table_name="jobs")
    op.drop_index("ix_jobs_queue", table_name="jobs")
    op.drop_index("ix_jobs_page", table_name="jobs")
    op.drop_index("ix_jobs_dataset_page", table_name="jobs")

    op.drop_table("jobs")
    op.drop_table("idempotency_keys")
    op.drop_table("files")
    op.drop_index("ix_file_uses_owner", table_name="file_uses")

    op.drop_table("file_uses")
    op.drop_index("ix_datasets_page", table_name="datasets")

    op.drop_table("datasets")
    op.drop_table("conversions")
