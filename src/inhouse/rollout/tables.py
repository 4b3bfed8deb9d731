"""Rollouts, what was decided of them and from what; experiments; and who owns a task's split."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Float, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from inhouse.db.base import Base, Instant, JsonText


class SplitOwner(Base):
    """The one unfinished rollout or experiment of a task; whoever ends deletes its row."""

    __tablename__ = "split_owner"

    task: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    owner_id: Mapped[str] = mapped_column(String(36))


class Rollout(Base):
    """A plan, and where it stands.

    ``revision`` counts every change, for compare-and-set. ``route_revision`` is the revision of the
    route that the rollout made last: when the task's route is at another one, a person moved it.
    ``step_at`` and ``candidate_before`` are the time and the candidate's outcomes at the entry of
    the step. ``intakes`` counts the rows of ``RolloutIntake``. ``stopped_from`` is the state that a
    held or paused rollout goes back to. ``superseded_by`` is a newer candidate that waits.
    ``lease_owner`` is the process that reconciles it, until ``lease_until``.
    """

    __tablename__ = "rollout"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    task: Mapped[str] = mapped_column(String(64))
    incumbent: Mapped[str] = mapped_column(Text)
    candidate: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    step: Mapped[int] = mapped_column(Integer)
    plan: Mapped[Any] = mapped_column(JsonText)
    by_user: Mapped[bool]
    salt: Mapped[str] = mapped_column(String(36))
    revision: Mapped[int] = mapped_column(Integer)
    route_revision: Mapped[int] = mapped_column(Integer)
    candidate_before: Mapped[int] = mapped_column(Integer)
    intakes: Mapped[int] = mapped_column(Integer)
    stopped_from: Mapped[str | None] = mapped_column(String(16))
    superseded_by: Mapped[str | None] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    step_at: Mapped[datetime] = mapped_column(Instant)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (Index("ix_rollout_task_created_at", "task", "created_at"),)


class RolloutDecision(Base):
    """One decision as it was made, by evidence or by a person: never changed.

    ``evidence`` are numbers by the name of their check. ``route_revision`` is the revision of the
    route that it made, null where the route stayed.
    """

    __tablename__ = "rollout_decision"

    rollout_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    before: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    step: Mapped[int] = mapped_column(Integer)
    weight_bp: Mapped[int] = mapped_column(Integer)
    reasons: Mapped[Any] = mapped_column(JsonText)
    evidence: Mapped[Any] = mapped_column(JsonText)
    route_revision: Mapped[int | None] = mapped_column(Integer)
    actor: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(Instant)


class RolloutIntake(Base):
    """One step of the evidence: which outcomes and labels were counted next. All intakes in their
    order, and the outcomes they name, give the same evidence again after a restart.

    ``upto`` is what was counted, in order: [process, number] are its outcomes up to that number,
    [null, n] the next n labels. ``labels`` are those labels, as they were counted
    (``intake_records.LabelRecord``). ``reading`` are the numbers afterwards, at ``created_at``. The
    newest intake may still grow. ``fresh``: nothing is counted, and the evidence begins anew behind
    ``upto``.
    """

    __tablename__ = "rollout_intake"

    rollout_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    upto: Mapped[Any] = mapped_column(JsonText)
    labels: Mapped[Any] = mapped_column(JsonText)
    reading: Mapped[Any] = mapped_column(JsonText)
    fresh: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(Instant)


class Experiment(Base):
    """A fixed split with a declared horizon: ``a`` against ``b``, of which ``weight_bp`` get ``b``.

    ``horizon`` are outcomes of both arms together, ``looks`` at how many evenly spaced moments the
    figures are looked at, ``alpha`` the chance of a false winner over all of them. ``start`` is the
    outcome number by process from which it counts. ``incumbent_before`` answers again afterwards.
    ``result`` is what was found, with a recommendation in words. ``days`` is its time limit, null
    for none. ``audit`` is the share of its calls that is drawn for arm-blind labels, ``judge`` the
    general model that gives them, "" for none.
    """

    __tablename__ = "experiment"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    task: Mapped[str] = mapped_column(String(64))
    a: Mapped[str] = mapped_column(Text)
    b: Mapped[str] = mapped_column(Text)
    weight_bp: Mapped[int] = mapped_column(Integer)
    metric: Mapped[str] = mapped_column(String(16))
    horizon: Mapped[int] = mapped_column(Integer)
    looks: Mapped[int] = mapped_column(Integer)
    alpha: Mapped[float] = mapped_column(Float)
    days: Mapped[float | None] = mapped_column(Float)
    audit: Mapped[float] = mapped_column(Float, server_default="0")
    judge: Mapped[str] = mapped_column(Text, server_default="")
    state: Mapped[str] = mapped_column(String(16))
    revision: Mapped[int] = mapped_column(Integer)
    route_revision: Mapped[int] = mapped_column(Integer)
    incumbent_before: Mapped[str] = mapped_column(Text)
    start: Mapped[Any] = mapped_column(JsonText)
    result: Mapped[Any | None] = mapped_column(JsonText)
    actor: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (Index("ix_experiment_task_created_at", "task", "created_at"),)
