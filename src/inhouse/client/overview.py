"""The loop at one glance, and counts of calls, as they travel: pydantic models."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from inhouse.client.control import Answer, Independence

Period = Literal["24h", "7d", "30d"]


class Slot(Answer):
    """Calls of tasks in an hour or a day from ``start`` on, by who answered."""

    start: datetime
    own: int
    local: int
    external: int
    unanswered: int


class Journey(Answer):
    """How far a task has come: corrections in the window (of the newest 2,000), status of the
    newest training run, the newest version, and what its gate said (or "rejected")."""

    corrections: int
    run: str | None
    version: str | None
    verdict: str | None


class TaskOverview(Answer):
    """A task in the window. Latencies are milliseconds of answered calls, within 12 %; ``success``
    and ``own_share`` lie in [0, 1]; ``weight_bp`` of 10,000 units go to ``candidate``."""

    task: str
    declared: bool
    calls: int
    own: int
    local: int
    external: int
    unanswered: int
    success: float | None
    own_share: float | None
    p50_ms: float | None
    p95_ms: float | None
    cost: float
    incumbent: str
    candidate: str | None
    weight_bp: int
    pin: str | None
    own_version: str | None
    journey: Journey


class Concern(Answer):
    """Something to look at. ``level``: bad (fails now), warn (waits for a person), info. ``about``
    is the reference, task or id that ``code`` is about."""

    code: str
    level: Literal["bad", "warn", "info"]
    title: str
    text: str
    about: str
    since: datetime | None


class Saving(Answer):
    """What the own models of a task saved against ``upstream``, which would have answered their
    ``calls`` at ``per_call`` each. Null where the price is not known.

    ``basis``: recorded (costs as they were recorded), declared (today's prices, recorded tokens),
    tokens (today's prices and the own model's tokens: at least so much), unknown (no price), none
    (a model of this installation answered before).
    """

    task: str
    calls: int
    cost: float
    upstream: str | None
    basis: Literal["recorded", "declared", "tokens", "unknown", "none"]
    per_call: float | None
    would_cost: float | None
    saved: float | None


class Savings(Answer):
    """By task, and the sum of those known (null where none is); ``unknown`` are the tasks that are
    not in it."""

    tasks: list[Saving]
    saved: float | None
    unknown: list[str]


class Overview(Answer):
    """The last day, week or month, in whole hours ``[since, until)``. Forced and imported calls are
    in none of it; ``chats`` are calls without a task, in no other figure but ``cost``."""

    period: Period
    since: datetime
    until: datetime
    calls: int
    answered: int
    own: int
    chats: int
    cost: float
    own_p95_ms: float | None
    general_p95_ms: float | None
    slots: list[Slot]
    tasks: list[TaskOverview]
    independence: Independence
    attention: list[Concern]
    savings: Savings


class FacetCount(Answer):
    """A value of a facet ("": none) and the calls that have it."""

    value: str
    calls: int


class ActivitySlot(Answer):
    """Calls in an hour or a day from ``start`` on; ``failed`` of them got no answer of a model."""

    start: datetime
    calls: int
    failed: int


class Activity(Answer):
    """Calls over time and by facet, free chats and forced calls too, in the whole hours that the
    window touches. Each facet counts the calls that match all the other filters."""

    since: datetime
    until: datetime
    calls: int
    failed: int
    slots: list[ActivitySlot]
    facets: dict[str, list[FacetCount]]
