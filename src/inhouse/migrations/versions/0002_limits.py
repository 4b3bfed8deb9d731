"""limits of keys, and what calls used up by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import inhouse.db.base

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_key", sa.Column("limits", inhouse.db.base.JsonText(), nullable=True))
    op.create_table(
        "spent",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("process", sa.String(length=36), nullable=False),
        sa.Column("key_id", sa.String(length=36), nullable=False),
        sa.Column("upstream", sa.String(length=64), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("day", "process", "key_id", "upstream", name=op.f("pk_spent")),
    )
