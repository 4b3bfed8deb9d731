"""What the calls of each task came to in a window: who answered, how fast, at what cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from inhouse.db.unit import ReadUnit
from inhouse.interactions.activity import NOT_COUNTED, quantile
from inhouse.interactions.counts import Sums, sums
from inhouse.interactions.filters import Facets, Span

_KEYS = ("task", "status", "reference", "hosting", "bucket")
_ANSWERED = "answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Calls with something in common. ``answered``: by a model; the others failed, or got the
    task's ``on_failure`` value. Latencies in milliseconds are those of answered calls, within 12 %
    of the true ones, None without one; ``cost`` is the sum in the currency of the declared
    prices."""

    calls: int
    answered: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredBy:
    """What one reference answered."""

    reference: str
    hosting: str
    traffic: Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTraffic:
    """The calls of one task in ``[since, until)``, by whole hours; ``references`` by how much they
    answered, the most first. Calls whose model was forced or imported are left out."""

    task: str
    since: datetime
    until: datetime
    total: Traffic
    references: Sequence[AnsweredBy]


def of_tasks(
    unit: ReadUnit, since: datetime, until: datetime, task: str | None = None
) -> Mapping[str, TaskTraffic]:
    """Every task with a call in the window, or one; a task without a call is not in it."""
    span, facets = Span(since=since, until=until), Facets(task=task)
    rows: dict[str, list[Sums]] = {}
    for row in sums(unit, span, by=_KEYS, facets=facets, without_arms=NOT_COUNTED):
        if row.task:
            rows.setdefault(row.task, []).append(row)
    return {
        name: TaskTraffic(
            task=name, since=since, until=until, total=_add(found), references=_by(found)
        )
        for name, found in sorted(rows.items())
    }


def nothing(task: str, since: datetime, until: datetime) -> TaskTraffic:
    """A task without a call."""
    return TaskTraffic(task=task, since=since, until=until, total=_add(()), references=())


def _by(rows: Sequence[Sums]) -> list[AnsweredBy]:
    groups: dict[tuple[str, str], list[Sums]] = {}
    for row in rows:
        if row.status == _ANSWERED and row.reference:
            groups.setdefault((row.reference, row.hosting), []).append(row)
    found = [
        AnsweredBy(reference=reference, hosting=hosting, traffic=_add(group))
        for (reference, hosting), group in groups.items()
    ]
    return sorted(found, key=lambda one: (-one.traffic.calls, one.reference))


def _add(rows: Sequence[Sums]) -> Traffic:
    buckets: Counter[int] = Counter()
    for row in rows:
        if row.status == _ANSWERED:
            buckets[row.bucket] += row.calls
    return Traffic(
        calls=sum(row.calls for row in rows),
        answered=sum(row.calls for row in rows if row.status == _ANSWERED),
        p50_ms=quantile(buckets, 0.5),
        p95_ms=quantile(buckets, 0.95),
        p99_ms=quantile(buckets, 0.99),
        cost=sum(row.cost for row in rows),
    )


NO_CALLS: Final = _add(())
"""What nothing comes to."""
