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
    _order_what_was_counted()
    op.add_column("erasure", sa.Column("task", sa.String(length=64), nullable=True))


def _order_what_was_counted() -> None:
    """What an intake counted, from numbers by process to pairs in their order, labels last."""
    intake = sa.table(
        "rollout_intake",
        sa.column("rollout_id", sa.String()),
        sa.column("number", sa.Integer()),
        sa.column("upto", inhouse.db.base.JsonText()),
        sa.column("labels", inhouse.db.base.JsonText()),
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(intake)).all():
        this = (intake.c.rollout_id == row.rollout_id) & (intake.c.number == row.number)
        pairs = [*sorted(row.upto.items()), *([(None, len(row.labels))] if row.labels else [])]
        connection.execute(sa.update(intake).where(this).values(upto=pairs))
