"""Versions that exist, and the routes that decide who answers. Two tables on purpose."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from inhouse.db.base import Base, Instant, JsonText


class ModelVersion(Base):
    """An immutable thing that can answer a task; only its status moves.

    ``number`` counts per task, so that the version is called ``<task>@<number>``. ``artifact`` and
    ``store_version`` say where its files lie in the ModelStore. ``run_id`` and ``snapshot_id`` are
    opaque here. ``rejected`` is {by, why, at}.
    """

    __tablename__ = "model_version"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    task: Mapped[str] = mapped_column(String(64))
    number: Mapped[int] = mapped_column(Integer)
    task_revision: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    artifact: Mapped[str] = mapped_column(String(64))
    store_version: Mapped[str] = mapped_column(String(64))
    manifest_digest: Mapped[str] = mapped_column(String(80))
    recipe: Mapped[str] = mapped_column(String(64))
    run_id: Mapped[str | None] = mapped_column(String(36))
    snapshot_id: Mapped[str | None] = mapped_column(String(36))
    rejected: Mapped[Any | None] = mapped_column(JsonText)
    created_at: Mapped[datetime] = mapped_column(Instant)

    __table_args__ = (
        UniqueConstraint("task", "number"),
        Index("ix_model_version_run_id", "run_id"),
    )


class RouteRevision(Base):
    """One numbered revision of a task's route; the highest one counts.

    ``incumbent`` and ``candidate`` are references; ``weight_bp`` of 10,000 goes to the candidate.
    ``chain`` are the fallbacks. ``pin`` sends every call to one reference. ``salt`` belongs to the
    candidate: a new candidate draws a new one, a new weight keeps it.
    """

    __tablename__ = "route_revision"

    task: Mapped[str] = mapped_column(String(64), primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True)
    incumbent: Mapped[str] = mapped_column(Text)
    candidate: Mapped[str | None] = mapped_column(Text)
    weight_bp: Mapped[int] = mapped_column(Integer)
    salt: Mapped[str] = mapped_column(String(36))
    chain: Mapped[Any] = mapped_column(JsonText)
    pin: Mapped[str | None] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
