"""Who may call, and calls that may be repeated."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from inhouse.db.base import Base, Instant, JsonText


class ApiKey(Base):
    """A key, as the SHA-256 of its 256 random bits. The key itself is shown once and not kept.

    ``limits`` are fields of ``settings.LimitSettings``; null means none.
    """

    __tablename__ = "api_key"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    role: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(Instant)
    revoked_at: Mapped[datetime | None] = mapped_column(Instant)
    limits: Mapped[Any | None] = mapped_column(JsonText)

    __table_args__ = (UniqueConstraint("digest"),)


class IdempotentCall(Base):
    """A call that its caller may repeat: claimed before it runs, with its response after it ran.

    ``scope`` is the id of the caller's key, "" without one. ``digest`` is that of the request.
    ``response`` is null while the call runs; a claim whose process died lapses at ``expires_at``.
    """

    __tablename__ = "idempotent_call"

    scope: Mapped[str] = mapped_column(String(36), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    claim: Mapped[str] = mapped_column(String(36))
    response: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    expires_at: Mapped[datetime] = mapped_column(Instant)

    __table_args__ = (Index("ix_idempotent_call_created_at", "created_at"),)


class PageSession(Base):
    """Somebody who showed a key to the pages. ``digest`` is the SHA-256 of the cookie's 256 random
    bits; a session lasts until ``expires_at`` and no longer than its key."""

    __tablename__ = "page_session"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(Instant)
    expires_at: Mapped[datetime] = mapped_column(Instant)

    __table_args__ = (Index("ix_page_session_expires_at", "expires_at"),)
