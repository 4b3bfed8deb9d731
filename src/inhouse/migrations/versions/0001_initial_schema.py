"""initial schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import inhouse.db.base

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("revoked_at", inhouse.db.base.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_key_digest")),
    )
    op.create_table(
        "dataset_snapshot",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("task_revision", sa.String(length=16), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("settings", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("counts", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("dropped", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset_snapshot")),
        sa.UniqueConstraint(
            "task", "content_hash", name=op.f("uq_dataset_snapshot_task_content_hash")
        ),
    )
    op.create_table(
        "evaluation",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("task_revision", sa.String(length=16), nullable=False),
        sa.Column("candidate", sa.Text(), nullable=False),
        sa.Column("version_id", sa.String(length=36), nullable=True),
        sa.Column("snapshot_id", sa.String(length=36), nullable=False),
        sa.Column("split", sa.String(length=8), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=True),
        sa.Column("reasons", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("results", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("comparisons", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("settings", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("finished_at", inhouse.db.base.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
    )
    with op.batch_alter_table("evaluation", schema=None) as batch_op:
        batch_op.create_index("ix_evaluation_task_created_at", ["task", "created_at"], unique=False)
        batch_op.create_index("ix_evaluation_version_id", ["version_id"], unique=False)

    op.create_table(
        "feedback",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("interaction_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("value", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("author", sa.String(length=128), nullable=True),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_feedback_idempotency_key")),
    )
    with op.batch_alter_table("feedback", schema=None) as batch_op:
        batch_op.create_index("ix_feedback_interaction_id", ["interaction_id"], unique=False)
        batch_op.create_index("ix_feedback_kind_created_at", ["kind", "created_at"], unique=False)

    op.create_table(
        "idempotent_call",
        sa.Column("scope", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("claim", sa.String(length=36), nullable=False),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("expires_at", inhouse.db.base.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name=op.f("pk_idempotent_call")),
    )
    with op.batch_alter_table("idempotent_call", schema=None) as batch_op:
        batch_op.create_index("ix_idempotent_call_created_at", ["created_at"], unique=False)

    op.create_table(
        "imported_example",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("task_revision", sa.String(length=16), nullable=False),
        sa.Column("input", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("target", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("group_key", sa.String(length=256), nullable=True),
        sa.Column("occurred_at", inhouse.db.base.Instant(), nullable=True),
        sa.Column("source", sa.String(length=256), nullable=False),
        sa.Column("row_number", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imported_example")),
        sa.UniqueConstraint(
            "task",
            "task_revision",
            "content_hash",
            name=op.f("uq_imported_example_task_task_revision_content_hash"),
        ),
    )
    with op.batch_alter_table("imported_example", schema=None) as batch_op:
        batch_op.create_index(
            "ix_imported_example_task_task_revision", ["task", "task_revision"], unique=False
        )

    op.create_table(
        "interaction",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=True),
        sa.Column("task_revision", sa.String(length=16), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("input", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("output", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("raw", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("probabilities", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("hosting", sa.String(length=16), nullable=True),
        sa.Column("arm", sa.String(length=16), nullable=True),
        sa.Column("route_revision", sa.Integer(), nullable=True),
        sa.Column("weight_bp", sa.Integer(), nullable=True),
        sa.Column("rescued", sa.Boolean(), nullable=False),
        sa.Column("unit", sa.String(length=32), nullable=True),
        sa.Column("subject", sa.String(length=32), nullable=True),
        sa.Column("tags", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("attempts", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("latency_ms", sa.Float(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("cost", sa.Float(), nullable=False),
        sa.Column("key_id", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_interaction")),
    )
    with op.batch_alter_table("interaction", schema=None) as batch_op:
        batch_op.create_index("ix_interaction_subject", ["subject"], unique=False)
        batch_op.create_index(
            "ix_interaction_task_created_at", ["task", "created_at"], unique=False
        )

    op.create_table(
        "job",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("arguments", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("run_after", inhouse.db.base.Instant(), nullable=False),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", inhouse.db.base.Instant(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("progress", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("result", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("started_at", inhouse.db.base.Instant(), nullable=True),
        sa.Column("finished_at", inhouse.db.base.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index("ix_job_status_run_after", ["status", "run_after"], unique=False)

    op.create_table(
        "meta",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_meta")),
    )
    op.create_table(
        "model_version",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("task_revision", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("artifact", sa.String(length=64), nullable=False),
        sa.Column("store_version", sa.String(length=64), nullable=False),
        sa.Column("manifest_digest", sa.String(length=80), nullable=False),
        sa.Column("recipe", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("snapshot_id", sa.String(length=36), nullable=True),
        sa.Column("rejected", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_version")),
        sa.UniqueConstraint("task", "number", name=op.f("uq_model_version_task_number")),
    )
    with op.batch_alter_table("model_version", schema=None) as batch_op:
        batch_op.create_index("ix_model_version_run_id", ["run_id"], unique=False)

    op.create_table(
        "route_revision",
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("incumbent", sa.Text(), nullable=False),
        sa.Column("candidate", sa.Text(), nullable=True),
        sa.Column("weight_bp", sa.Integer(), nullable=False),
        sa.Column("salt", sa.String(length=36), nullable=False),
        sa.Column("chain", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("pin", sa.Text(), nullable=True),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("task", "revision", name=op.f("pk_route_revision")),
    )
    op.create_table(
        "training_run",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("task_revision", sa.String(length=16), nullable=False),
        sa.Column("recipe", sa.String(length=64), nullable=False),
        sa.Column("settings", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("snapshot_id", sa.String(length=36), nullable=False),
        sa.Column("snapshot_hash", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("metrics", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("version_id", sa.String(length=36), nullable=True),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("started_at", inhouse.db.base.Instant(), nullable=True),
        sa.Column("finished_at", inhouse.db.base.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_run")),
    )
    with op.batch_alter_table("training_run", schema=None) as batch_op:
        batch_op.create_index(
            "ix_training_run_task_created_at", ["task", "created_at"], unique=False
        )

    op.create_table(
        "dataset_snapshot_example",
        sa.Column("snapshot_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("split", sa.String(length=8), nullable=False),
        sa.Column("input", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("target", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("quality", sa.Float(), nullable=False),
        sa.Column("group_key", sa.String(length=256), nullable=False),
        sa.Column("origin", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["dataset_snapshot.id"],
            name=op.f("fk_dataset_snapshot_example_snapshot_id_dataset_snapshot"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "snapshot_id", "position", name=op.f("pk_dataset_snapshot_example")
        ),
    )
    op.create_table(
        "evaluation_item",
        sa.Column("evaluation_id", sa.String(length=36), nullable=False),
        sa.Column("reference", sa.String(length=256), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("output", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("probabilities", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("latency_ms", sa.Float(), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluation.id"],
            name=op.f("fk_evaluation_item_evaluation_id_evaluation"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "evaluation_id", "reference", "position", name=op.f("pk_evaluation_item")
        ),
    )
    op.create_table(
        "training_event",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("data", inhouse.db.base.JsonText(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["training_run.id"],
            name=op.f("fk_training_event_run_id_training_run"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "sequence", name=op.f("pk_training_event")),
    )
