"""Examples that were brought in, and the frozen snapshots made of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Float, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from inhouse.db.base import Base, Instant, JsonText


class ImportedExample(Base):
    """A labelled example that came in a file, for one task and one revision of it."""

    __tablename__ = "imported_example"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    task: Mapped[str] = mapped_column(String(64))
    task_revision: Mapped[str] = mapped_column(String(16))
    input: Mapped[Any] = mapped_column(JsonText)
    target: Mapped[Any] = mapped_column(JsonText)
    weight: Mapped[float] = mapped_column(Float, default=1.0)
    group_key: Mapped[str | None] = mapped_column(String(256))
    subject: Mapped[str | None] = mapped_column(String(32))
    occurred_at: Mapped[datetime | None] = mapped_column(Instant)
    source: Mapped[str] = mapped_column(String(256))
    row_number: Mapped[int] = mapped_column(Integer)
    content_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(Instant)

    __table_args__ = (
        UniqueConstraint("task", "task_revision", "content_hash"),
        Index("ix_imported_example_task_task_revision", "task", "task_revision"),
        Index("ix_imported_example_subject", "subject"),
    )


class Snapshot(Base):
    """A dataset snapshot: immutable, named by the hash of its content. ``rebuilt_at``: when the
    same content was built again, the last time; null for never."""

    __tablename__ = "dataset_snapshot"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    task: Mapped[str] = mapped_column(String(64))
    task_revision: Mapped[str] = mapped_column(String(16))
    content_hash: Mapped[str] = mapped_column(String(64))
    settings: Mapped[Any] = mapped_column(JsonText)
    counts: Mapped[Any] = mapped_column(JsonText)
    dropped: Mapped[Any] = mapped_column(JsonText)
    created_at: Mapped[datetime] = mapped_column(Instant)
    rebuilt_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (UniqueConstraint("task", "content_hash"),)


class SnapshotExample(Base):
    """One example of a snapshot, in the snapshot's own order.

    ``interaction_id`` and ``imported_id`` say what ``origin`` says, so that it can be looked up.
    """

    __tablename__ = "dataset_snapshot_example"

    snapshot_id: Mapped[str] = mapped_column(
        String(36), ForeignKey("dataset_snapshot.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    split: Mapped[str] = mapped_column(String(8))
    input: Mapped[Any] = mapped_column(JsonText)
    target: Mapped[Any] = mapped_column(JsonText)
    weight: Mapped[float] = mapped_column(Float)
    quality: Mapped[float] = mapped_column(Float)
    group_key: Mapped[str] = mapped_column(String(256))
    origin: Mapped[Any] = mapped_column(JsonText)
    content_hash: Mapped[str] = mapped_column(String(64))
    interaction_id: Mapped[str | None] = mapped_column(String(36))
    imported_id: Mapped[str | None] = mapped_column(String(36))

    __table_args__ = (
        Index(
            "ix_dataset_snapshot_example_interaction_id_snapshot_id",
            "interaction_id",
            "snapshot_id",
        ),
        Index(
            "ix_dataset_snapshot_example_snapshot_id_interaction_id",
            "snapshot_id",
            "interaction_id",
        ),
        Index("ix_dataset_snapshot_example_imported_id", "imported_id"),
    )
