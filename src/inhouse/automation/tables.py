"""What was proposed, why, and what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from inhouse.db.base import Base, Instant, JsonText


class Proposal(Base):
    """Something that automation would do, or would not.

    ``what`` is train, evaluate or roll_out; ``about`` the version's reference, "" for training.
    ``based_on`` names what it was concluded from (a training run or an earlier proposal, an
    evaluation): one conclusion from one thing. ``why`` are words, ``evidence`` the numbers in them.
    ``state`` is open, accepted, done, declined or expired; ``decided_by``, ``decided_at`` and
    ``reason`` say who brought it there last, and why. ``result`` names what came of it: {job_id,
    run_id, rollout_id}.
    """

    __tablename__ = "proposal"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    task: Mapped[str] = mapped_column(String(64))
    what: Mapped[str] = mapped_column(String(16))
    about: Mapped[str] = mapped_column(Text)
    based_on: Mapped[str] = mapped_column(String(64))
    why: Mapped[str] = mapped_column(Text)
    evidence: Mapped[Any] = mapped_column(JsonText)
    state: Mapped[str] = mapped_column(String(16))
    decided_by: Mapped[str | None] = mapped_column(String(128))
    decided_at: Mapped[datetime | None] = mapped_column(Instant)
    reason: Mapped[str] = mapped_column(Text)
    result: Mapped[Any] = mapped_column(JsonText)
    created_at: Mapped[datetime] = mapped_column(Instant)

    __table_args__ = (
        UniqueConstraint("task", "what", "based_on"),
        Index("ix_proposal_task_created_at", "task", "created_at"),
    )
