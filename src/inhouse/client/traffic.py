"""What travels on the route of a task's traffic."""

from __future__ import annotations

from datetime import datetime

from inhouse.client.control import Answer


class Traffic(Answer):
    """Calls with something in common. ``answered``: by a model. Latencies in milliseconds are
    those of answered calls, within 12 % of the true ones, null without one; ``cost`` is in the
    currency of the declared prices."""

    calls: int
    answered: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    cost: float


class AnsweredBy(Answer):
    """What one reference answered."""

    reference: str
    hosting: str
    traffic: Traffic


class TaskTraffic(Answer):
    """The calls of a task in ``[since, until)`` by whole hours, in all and by who answered."""

    task: str
    since: datetime
    until: datetime
    total: Traffic
    references: list[AnsweredBy]
