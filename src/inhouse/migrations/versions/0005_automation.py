"""proposals of automation; purges by age of one task."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import inhouse.db.base

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "proposal",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("based_on", sa.String(length=64), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("evidence", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("decided_by", sa.String(length=128), nullable=True),
        sa.Column("decided_at", inhouse.db.base.Instant(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("result", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposal")),
        sa.UniqueConstraint(
            "task", "what", "based_on", name=op.f("uq_proposal_task_what_based_on")
        ),
    )
    op.create_index("ix_proposal_task_created_at", "proposal", ["task", "created_at"])
    op.add_column("erasure", sa.Column("task", sa.String(length=64), nullable=True))
