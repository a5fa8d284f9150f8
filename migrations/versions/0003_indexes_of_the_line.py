"""Indexes of the line, and of the turns that were served."""

from __future__ import annotations

from migrations import indexes

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    in_line = "status = 'queued' AND ready"
    indexes.build("ix_runs_line", "runs", ["device_kind", "priority", "turn", "id"], where=in_line)
    indexes.build("ix_runs_line_of_job", "runs", ["job", "turn", "id"], where=in_line)
    indexes.build("ix_runs_started", "runs", ["device", "priority", "started_at"])
    indexes.drop("ix_runs_claim", "runs")


def downgrade() -> None:
    indexes.build("ix_runs_claim", "runs", ["status", "ready", "priority", "id"])
    indexes.drop("ix_runs_started", "runs")
    indexes.drop("ix_runs_line_of_job", "runs")
    indexes.drop("ix_runs_line", "runs")
