"""Statements about interactions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from inhouse.db.base import Base, Instant, JsonText


class Feedback(Base):
    """A correction, rating, outcome, comment or audit.

    The interaction may not be recorded yet: there is no foreign key, readers join. The same
    ``idempotency_key`` is stored once; without one, the content is its own key.
    """

    __tablename__ = "feedback"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    interaction_id: Mapped[str] = mapped_column(String(36))
    kind: Mapped[str] = mapped_column(String(16))
    value: Mapped[Any] = mapped_column(JsonText)
    author: Mapped[str | None] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(Instant)
    idempotency_key: Mapped[str] = mapped_column(String(128))

    __table_args__ = (
        UniqueConstraint("idempotency_key"),
        Index("ix_feedback_interaction_id", "interaction_id"),
        Index("ix_feedback_kind_created_at", "kind", "created_at"),
    )
