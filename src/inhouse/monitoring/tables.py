"""Alerts that were raised, and how far inputs and outputs drifted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Float, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from inhouse.db.base import Base, Instant, JsonText


class Alert(Base):
    """Something that somebody should look at: open until it is over.

    One row for each (``code``, ``about``) that is open or was last; ``raised`` counts how often it
    began. ``told_at`` is when channels heard of it last; ``channels`` are {name: error or null}.
    """

    __tablename__ = "alert"

    code: Mapped[str] = mapped_column(String(64), primary_key=True)
    about: Mapped[str] = mapped_column(String(255), primary_key=True)
    level: Mapped[str] = mapped_column(String(8))
    title: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    raised: Mapped[int] = mapped_column(Integer)
    since: Mapped[datetime] = mapped_column(Instant)
    seen_at: Mapped[datetime] = mapped_column(Instant)
    told_at: Mapped[datetime | None] = mapped_column(Instant)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
    channels: Mapped[Any | None] = mapped_column(JsonText)


class Drift(Base):
    """How far the calls of a window are from what a version was trained on.

    ``inputs`` and ``outputs`` are distances with their thresholds in ``detail``; null where there
    is nothing to compare with.
    """

    __tablename__ = "drift"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    task: Mapped[str] = mapped_column(String(64))
    reference: Mapped[str] = mapped_column(Text)
    calls: Mapped[int] = mapped_column(Integer)
    inputs: Mapped[float | None] = mapped_column(Float)
    outputs: Mapped[float | None] = mapped_column(Float)
    drifted: Mapped[bool]
    detail: Mapped[Any] = mapped_column(JsonText)
    created_at: Mapped[datetime] = mapped_column(Instant)

    __table_args__ = (Index("ix_drift_task_created_at", "task", "created_at"),)
