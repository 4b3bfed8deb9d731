"""Evaluations: scores of several references on the same frozen test split."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from inhouse.db.base import Base, Instant, JsonText


class Evaluation(Base):
    """One evaluation. ``verdict`` is the gate's: pass, fail or inconclusive, with ``reasons``.

    ``results`` holds per reference the figures with their intervals; ``comparisons`` the paired
    tests of the candidate against each of the others.
    """

    __tablename__ = "evaluation"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    task: Mapped[str] = mapped_column(String(64))
    task_revision: Mapped[str] = mapped_column(String(16))
    candidate: Mapped[str] = mapped_column(Text)
    version_id: Mapped[str | None] = mapped_column(String(36))
    snapshot_id: Mapped[str] = mapped_column(String(36))
    split: Mapped[str] = mapped_column(String(8))
    status: Mapped[str] = mapped_column(String(16))
    verdict: Mapped[str | None] = mapped_column(String(16))
    reasons: Mapped[Any | None] = mapped_column(JsonText)
    results: Mapped[Any | None] = mapped_column(JsonText)
    comparisons: Mapped[Any | None] = mapped_column(JsonText)
    settings: Mapped[Any] = mapped_column(JsonText)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (
        Index("ix_evaluation_task_created_at", "task", "created_at"),
        Index("ix_evaluation_version_id", "version_id"),
    )


class EvaluationItem(Base):
    """What one reference answered to one example of the split, and what it was worth."""

    __tablename__ = "evaluation_item"

    evaluation_id: Mapped[str] = mapped_column(
        String(36), ForeignKey("evaluation.id", ondelete="CASCADE"), primary_key=True
    )
    reference: Mapped[str] = mapped_column(String(256), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    output: Mapped[Any | None] = mapped_column(JsonText)
    probabilities: Mapped[Any | None] = mapped_column(JsonText)
    score: Mapped[float] = mapped_column(Float)
    latency_ms: Mapped[float | None] = mapped_column(Float)
    error_code: Mapped[str | None] = mapped_column(String(64))
