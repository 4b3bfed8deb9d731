"""counts by the hour, sessions of the pages, erased subjects."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import inhouse.db.base

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "activity",
        sa.Column("hour", sa.String(length=13), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("reference", sa.String(length=256), nullable=False),
        sa.Column("hosting", sa.String(length=16), nullable=False),
        sa.Column("arm", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("process", sa.String(length=36), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("latency_ms", sa.Float(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint(
            "hour",
            "task",
            "reference",
            "hosting",
            "arm",
            "status",
            "bucket",
            "process",
            name=op.f("pk_activity"),
        ),
    )
    op.create_table(
        "erasure",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("subject", sa.String(length=32), nullable=True),
        sa.Column("before", inhouse.db.base.Instant(), nullable=True),
        sa.Column("counts", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("versions", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure")),
    )
    op.create_table(
        "page_session",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("expires_at", inhouse.db.base.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_page_session")),
    )
    op.create_index("ix_page_session_expires_at", "page_session", ["expires_at"])
    op.add_column("imported_example", sa.Column("subject", sa.String(length=32), nullable=True))
    op.create_index("ix_imported_example_subject", "imported_example", ["subject"])
