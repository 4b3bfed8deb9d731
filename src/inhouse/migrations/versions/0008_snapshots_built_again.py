"""when snapshots were built again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import inhouse.db.base

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of snapshots of before nobody knows it."""
    op.add_column(
        "dataset_snapshot", sa.Column("rebuilt_at", inhouse.db.base.Instant(), nullable=True)
    )
