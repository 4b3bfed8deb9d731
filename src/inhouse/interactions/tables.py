"""One row per recorded call."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Float, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from inhouse.db.base import Base, Instant, JsonText


class Interaction(Base):
    """A call: input, route, output, latency, cost.

    ``task`` is null for a free chat. ``status`` is answered, flagged (the caller got the task's
    ``on_failure`` value) or failed. ``arm`` is incumbent, candidate, pinned, forced, imported, or
    shadow: a candidate answered a copy of the call ``shadow_of``, for nobody to see. ``attempts``
    is the route trace: a list of {reference, ok, code, latency_ms}. ``input`` is what was sent to
    the model. ``raw`` is what a general model really said. ``cost`` is in the currency of the
    configured prices. ``unit`` and ``subject`` are salted hashes.
    """

    __tablename__ = "interaction"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(Instant)
    task: Mapped[str | None] = mapped_column(String(64))
    task_revision: Mapped[str | None] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    error_code: Mapped[str | None] = mapped_column(String(64))
    input: Mapped[Any] = mapped_column(JsonText)
    output: Mapped[Any | None] = mapped_column(JsonText)
    raw: Mapped[str | None] = mapped_column(JsonText)
    probabilities: Mapped[Any | None] = mapped_column(JsonText)
    reference: Mapped[str | None] = mapped_column(Text)
    hosting: Mapped[str | None] = mapped_column(String(16))
    arm: Mapped[str | None] = mapped_column(String(16))
    route_revision: Mapped[int | None] = mapped_column(Integer)
    weight_bp: Mapped[int | None] = mapped_column(Integer)
    rescued: Mapped[bool] = mapped_column(Boolean, default=False)
    unit: Mapped[str | None] = mapped_column(String(32))
    subject: Mapped[str | None] = mapped_column(String(32))
    tags: Mapped[Any | None] = mapped_column(JsonText)
    attempts: Mapped[Any | None] = mapped_column(JsonText)
    latency_ms: Mapped[float] = mapped_column(Float)
    input_tokens: Mapped[int] = mapped_column(Integer, default=0)
    output_tokens: Mapped[int] = mapped_column(Integer, default=0)
    cost: Mapped[float] = mapped_column(Float, default=0.0)
    key_id: Mapped[str | None] = mapped_column(String(36))
    shadow_of: Mapped[str | None] = mapped_column(String(36))

    __table_args__ = (
        Index("ix_interaction_task_created_at", "task", "created_at"),
        Index("ix_interaction_created_at", "created_at"),
        Index("ix_interaction_subject", "subject"),
        # The migration says the same for PostgreSQL; said here it would load that dialect.
        Index("ix_interaction_shadow_of", "shadow_of", sqlite_where=text("shadow_of IS NOT NULL")),
    )


class Outcome(Base):
    """How a call of a split ended, or a candidate's answer to a copy of one: what rollouts and
    experiments count. Written in the transaction that records the call; erasing the call leaves it,
    with its unit, for what was counted once is counted again after a restart.

    ``process`` is the gateway process that recorded it, ``number`` counts its outcomes in the order
    of their commits, so that a reader who remembers one number per process misses none and counts
    none twice. ``arm`` is incumbent, candidate or shadow, ``weight_bp`` the candidate's weight at
    assignment. ``bad``: not answered, not in time, not valid, or rescued by a fallback.
    ``paired_bad``: of a shadow, the same of the answer that the caller got. ``interaction_id`` is
    the caller's call.
    """

    __tablename__ = "outcome"

    process: Mapped[str] = mapped_column(String(36), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    task: Mapped[str] = mapped_column(String(64))
    route_revision: Mapped[int] = mapped_column(Integer)
    arm: Mapped[str] = mapped_column(String(16))
    weight_bp: Mapped[int] = mapped_column(Integer)
    bad: Mapped[bool] = mapped_column(Boolean)
    paired_bad: Mapped[bool | None] = mapped_column(Boolean)
    latency_ms: Mapped[float] = mapped_column(Float)
    unit: Mapped[str | None] = mapped_column(String(32))
    interaction_id: Mapped[str] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(Instant)

    __table_args__ = (Index("ix_outcome_interaction_id", "interaction_id"),)


class OutcomeHead(Base):
    """The highest ``Outcome.number`` of every gateway process, so that readers find what is new
    without a search."""

    __tablename__ = "outcome_head"

    process: Mapped[str] = mapped_column(String(36), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Instant)


class Spent(Base):
    """What calls used up on one day (UTC), counted in the transaction that records them.

    ``process`` is the gateway process that counted (an id drawn at its start); ``key_id`` is "" for
    calls without a key, ``upstream`` the name of a declared upstream, or "". ``requests`` counts
    calls in rows of upstream "", and tries in rows of an upstream. Tokens and cost stand in the row
    of the upstream that counted them, and in that of "" for all other backends.
    """

    __tablename__ = "spent"

    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    process: Mapped[str] = mapped_column(String(36), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    upstream: Mapped[str] = mapped_column(String(64), primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    tokens: Mapped[int] = mapped_column(BigInteger)
    cost: Mapped[float] = mapped_column(Float)


class Activity(Base):
    """What calls came to in one hour (UTC, ``2026-01-31T09``), and once more in its day
    (``2026-01-31``), counted in the transaction that records them. Erasing an interaction leaves
    these counts.

    ``process`` is the gateway process that counted. ``task`` is "" for a free chat, ``reference``
    what answered ("" when nothing did). ``bucket`` is the number of the latency's bucket
    (``interactions.activity``), so that percentiles can be told from the counts.
    """

    __tablename__ = "activity"

    hour: Mapped[str] = mapped_column(String(13), primary_key=True)
    task: Mapped[str] = mapped_column(String(64), primary_key=True)
    reference: Mapped[str] = mapped_column(String(256), primary_key=True)
    hosting: Mapped[str] = mapped_column(String(16), primary_key=True)
    arm: Mapped[str] = mapped_column(String(16), primary_key=True)
    status: Mapped[str] = mapped_column(String(16), primary_key=True)
    bucket: Mapped[int] = mapped_column(Integer, primary_key=True)
    process: Mapped[str] = mapped_column(String(36), primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)
    latency_ms: Mapped[float] = mapped_column(Float)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    cost: Mapped[float] = mapped_column(Float)

    __table_args__ = ({"sqlite_with_rowid": False},)


class Erasure(Base):
    """That a subject's data, or data of a certain age, was erased; what remains is counts.

    ``id`` is that of the job, which adds to the row with every batch and sets ``finished_at`` at
    its end. ``subject`` is the salted hash, null for a purge by age, of one ``task`` or of all
    (null). ``counts`` is {interactions, feedback, imported, examples}; ``snapshots`` are the ids of
    those that held some of it, and ``versions`` the references of versions that were trained from
    them.
    """

    __tablename__ = "erasure"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    subject: Mapped[str | None] = mapped_column(String(32))
    before: Mapped[datetime | None] = mapped_column(Instant)
    task: Mapped[str | None] = mapped_column(String(64))
    counts: Mapped[Any] = mapped_column(JsonText)
    snapshots: Mapped[Any] = mapped_column(JsonText)
    versions: Mapped[Any] = mapped_column(JsonText)
    actor: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(Instant)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)
