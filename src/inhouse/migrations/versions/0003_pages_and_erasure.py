"""counts by the hour, sessions of the pages, erased subjects."""

from __future__ import annotations

from itertools import accumulate, repeat
from operator import mul

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
        sqlite_with_rowid=False,
    )
    op.execute(_count_what_is_there(op.get_bind().dialect.name))
    op.execute(_ADD_DAYS)
    op.create_index("ix_interaction_created_at", "interaction", ["created_at"])
    op.create_table(
        "erasure",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("subject", sa.String(length=32), nullable=True),
        sa.Column("before", inhouse.db.base.Instant(), nullable=True),
        sa.Column("counts", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("snapshots", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("versions", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("finished_at", inhouse.db.base.Instant(), nullable=True),
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
    _add_origins()


def _add_origins() -> None:
    """Where an example came from, as columns that can be looked up."""
    table = "dataset_snapshot_example"
    for name in ("interaction_id", "imported_id"):
        op.add_column(table, sa.Column(name, sa.String(length=36), nullable=True))
    in_origin = "json_extract(origin, '$.{}')"
    if op.get_bind().dialect.name == "postgresql":
        in_origin = "json_extract_path_text(CAST(origin AS json), '{}')"
    op.execute(f"UPDATE {table} SET interaction_id = {in_origin.format('interaction_id')}")
    op.execute(_FIND_IMPORTED.format(*map(in_origin.format, ("source", "row"))))
    for columns in (("interaction_id", "snapshot_id"), ("snapshot_id", "interaction_id")):
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))
    op.create_index(f"ix_{table}_imported_id", table, ["imported_id"])


_FIND_IMPORTED = """
    UPDATE dataset_snapshot_example SET imported_id = found.id
    FROM (
        SELECT example.snapshot_id, example.position, min(imported.id) AS id
        FROM (
            SELECT snapshot_id, position, input, {} AS source, CAST({} AS integer) AS row_number
            FROM dataset_snapshot_example WHERE interaction_id IS NULL
        ) AS example
        JOIN dataset_snapshot AS snapshot ON snapshot.id = example.snapshot_id
        JOIN imported_example AS imported ON imported.input = example.input
            AND imported.source = example.source AND imported.row_number = example.row_number
            AND imported.task || '' = snapshot.task
            AND imported.task_revision || '' = snapshot.task_revision
        GROUP BY example.snapshot_id, example.position
    ) AS found
    WHERE dataset_snapshot_example.snapshot_id = found.snapshot_id
        AND dataset_snapshot_example.position = found.position"""


_ADD_DAYS = """
    INSERT INTO activity
    SELECT substr(hour, 1, 10), task, reference, hosting, arm, status, bucket, process,
           sum(calls), sum(latency_ms), sum(input_tokens), sum(output_tokens), sum(cost)
    FROM activity
    GROUP BY substr(hour, 1, 10), task, reference, hosting, arm, status, bucket, process"""


def _count_what_is_there(dialect: str) -> str:
    """Calls recorded before there were counts, as the recorder would have counted them. Both write
    the bounds of the latency's buckets as 0.1 times 1.25, again and again."""
    bounds = accumulate(repeat(1.25, 78), mul, initial=0.1)
    ladder = " ".join(f"WHEN latency_ms <= {bound!r} THEN {k}" for k, bound in enumerate(bounds))
    hour = "substr(created_at, 1, 13)"
    if dialect == "postgresql":
        hour = """to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24')"""
    return f"""
        INSERT INTO activity
        SELECT hour, task, reference, hosting, arm, status, bucket, '', count(*), sum(latency_ms),
               sum(input_tokens), sum(output_tokens), sum(cost)
        FROM (
            SELECT {hour} AS hour, coalesce(task, '') AS task,
                   substr(coalesce(reference, ''), 1, 256) AS reference,
                   coalesce(hosting, '') AS hosting, coalesce(arm, '') AS arm, status,
                   CASE {ladder} ELSE 79 END AS bucket,
                   latency_ms, input_tokens, output_tokens, cost
            FROM interaction
        ) AS counted
        GROUP BY hour, task, reference, hosting, arm, status, bucket"""
