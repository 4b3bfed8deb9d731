"""outcomes of splits, rollouts and experiments, alerts and drift."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import inhouse.db.base

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _add_outcomes()
    _add_rollouts()
    _add_rollout_history()
    _add_split_owners()
    _add_alerts()
    _add_drift()
    _add_experiments()


def _add_outcomes() -> None:
    op.create_table(
        "outcome",
        sa.Column("process", sa.String(length=36), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("route_revision", sa.Integer(), nullable=False),
        sa.Column("arm", sa.String(length=16), nullable=False),
        sa.Column("weight_bp", sa.Integer(), nullable=False),
        sa.Column("bad", sa.Boolean(), nullable=False),
        sa.Column("paired_bad", sa.Boolean(), nullable=True),
        sa.Column("latency_ms", sa.Float(), nullable=False),
        sa.Column("unit", sa.String(length=32), nullable=True),
        sa.Column("interaction_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("process", "number", name=op.f("pk_outcome")),
    )
    op.create_index("ix_outcome_interaction_id", "outcome", ["interaction_id"])
    op.create_table(
        "outcome_head",
        sa.Column("process", sa.String(length=36), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("process", name=op.f("pk_outcome_head")),
    )
    op.add_column("interaction", sa.Column("shadow_of", sa.String(length=36), nullable=True))


def _add_rollouts() -> None:
    op.create_table(
        "rollout",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("incumbent", sa.Text(), nullable=False),
        sa.Column("candidate", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("plan", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("by_user", sa.Boolean(), nullable=False),
        sa.Column("salt", sa.String(length=36), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("route_revision", sa.Integer(), nullable=False),
        sa.Column("candidate_before", sa.Integer(), nullable=False),
        sa.Column("intakes", sa.Integer(), nullable=False),
        sa.Column("stopped_from", sa.String(length=16), nullable=True),
        sa.Column("superseded_by", sa.Text(), nullable=True),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("step_at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("ended_at", inhouse.db.base.Instant(), nullable=True),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", inhouse.db.base.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout")),
    )
    op.create_index("ix_rollout_task_created_at", "rollout", ["task", "created_at"])


def _add_rollout_history() -> None:
    op.create_table(
        "rollout_decision",
        sa.Column("rollout_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("before", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("weight_bp", sa.Integer(), nullable=False),
        sa.Column("reasons", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("evidence", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("route_revision", sa.Integer(), nullable=True),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", "number", name=op.f("pk_rollout_decision")),
    )
    op.create_table(
        "rollout_intake",
        sa.Column("rollout_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("upto", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("labels", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("reading", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("fresh", sa.Boolean(), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", "number", name=op.f("pk_rollout_intake")),
    )


def _add_split_owners() -> None:
    op.create_table(
        "split_owner",
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("owner_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("task", name=op.f("pk_split_owner")),
    )


def _add_alerts() -> None:
    op.create_table(
        "alert",
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("about", sa.String(length=255), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("raised", sa.Integer(), nullable=False),
        sa.Column("since", inhouse.db.base.Instant(), nullable=False),
        sa.Column("seen_at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("told_at", inhouse.db.base.Instant(), nullable=True),
        sa.Column("ended_at", inhouse.db.base.Instant(), nullable=True),
        sa.Column("channels", inhouse.db.base.JsonText(), nullable=True),
        sa.PrimaryKeyConstraint("code", "about", name=op.f("pk_alert")),
    )


def _add_drift() -> None:
    op.create_table(
        "drift",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("inputs", sa.Float(), nullable=True),
        sa.Column("outputs", sa.Float(), nullable=True),
        sa.Column("drifted", sa.Boolean(), nullable=False),
        sa.Column("detail", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift")),
    )
    op.create_index("ix_drift_task_created_at", "drift", ["task", "created_at"])


def _add_experiments() -> None:
    op.create_table(
        "experiment",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("a", sa.Text(), nullable=False),
        sa.Column("b", sa.Text(), nullable=False),
        sa.Column("weight_bp", sa.Integer(), nullable=False),
        sa.Column("metric", sa.String(length=16), nullable=False),
        sa.Column("horizon", sa.Integer(), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("alpha", sa.Float(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("route_revision", sa.Integer(), nullable=False),
        sa.Column("incumbent_before", sa.Text(), nullable=False),
        sa.Column("start", inhouse.db.base.JsonText(), nullable=False),
        sa.Column("result", inhouse.db.base.JsonText(), nullable=True),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", inhouse.db.base.Instant(), nullable=False),
        sa.Column("ended_at", inhouse.db.base.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiment")),
    )
    op.create_index("ix_experiment_task_created_at", "experiment", ["task", "created_at"])
