"""Training runs and what happened in them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from inhouse.db.base import Base, Instant, JsonText


class TrainingRun(Base):
    """One execution of a recipe on a snapshot. ``settings`` are the recipe's, resolved.

    ``job_id`` is the job that does it; a wish to cancel stands there.
    """

    __tablename__ = "training_run"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    task: Mapped[str] = mapped_column(String(64))
    task_revision: Mapped[str] = mapped_column(String(16))
    recipe: Mapped[str] = mapped_column(String(64))
    settings: Mapped[Any] = mapped_column(JsonText)
    snapshot_id: Mapped[str] = mapped_column(String(36))
    snapshot_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    job_id: Mapped[str] = mapped_column(String(36))
    error: Mapped[str | None] = mapped_column(Text)
    metrics: Mapped[Any | None] = mapped_column(JsonText)
    version_id: Mapped[str | None] = mapped_column(String(36))
    actor: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(Instant)
    started_at: Mapped[datetime | None] = mapped_column(Instant)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (Index("ix_training_run_task_created_at", "task", "created_at"),)


class TrainingEvent(Base):
    """A step of a run: a change of status, or progress {done, total, note}."""

    __tablename__ = "training_event"

    run_id: Mapped[str] = mapped_column(
        String(36), ForeignKey("training_run.id", ondelete="CASCADE"), primary_key=True
    )
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(Instant)
    kind: Mapped[str] = mapped_column(String(16))
    data: Mapped[Any] = mapped_column(JsonText)
