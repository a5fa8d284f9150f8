"""A job's variants, and the inputs that it has beside its first teacher and its dataset."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql")
DOCUMENT = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True), "postgresql"
)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("variants", DOCUMENT, nullable=True))
    op.create_table(
        "job_inputs",
        sa.Column("job", ID, nullable=False),
        sa.Column("object", ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_job_inputs_job_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "object", name=op.f("pk_job_inputs")),
    )
    op.create_index("ix_job_inputs_object", "job_inputs", ["object", "job"], unique=False)


def downgrade() -> None:
    op.drop_table("job_inputs")
    op.drop_column("jobs", "variants")
