"""Background work, with leases so that a dead worker's job is taken up again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from inhouse.db.base import Base, Instant, JsonText


class Job(Base):
    """A unit of background work: the name of its handler and its arguments.

    Queued jobs are claimed oldest first once ``run_after`` has passed. A running job holds a lease
    until ``lease_until``; its worker renews it. ``progress`` is {done, total, note}.
    """

    __tablename__ = "job"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    arguments: Mapped[Any] = mapped_column(JsonText)
    status: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    max_attempts: Mapped[int] = mapped_column(Integer, default=3)
    run_after: Mapped[datetime] = mapped_column(Instant)
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[datetime | None] = mapped_column(Instant)
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False)
    progress: Mapped[Any | None] = mapped_column(JsonText)
    result: Mapped[Any | None] = mapped_column(JsonText)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    started_at: Mapped[datetime | None] = mapped_column(Instant)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (Index("ix_job_status_run_after", "status", "run_after"),)
