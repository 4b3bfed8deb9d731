"""Figures of recorded calls, as ``interactions stats`` and the demo show them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inhouse.db.unit import ReadUnit


def call_stats(unit: ReadUnit, task: str, *, since: datetime, until: datetime) -> dict[str, Any]:
    """Calls of a task in ``[since, until)``: counts by who answered, and a row per reference."""
    from inhouse.monitoring.queries import Window, call_figures, count_calls

    window = Window(since=since, until=until)
    counts = next((c for c in count_calls(unit, window) if c.task == task), None)
    rows = [asdict(row) for row in call_figures(unit, window) if row.task == task]
    answered = counts.answered if counts else 0
    return {
        "task": task,
        "since": since,
        "until": until,
        "calls": answered + (counts.unanswered if counts else 0),
        "answered": answered,
        "unanswered": counts.unanswered if counts else 0,
        "own": counts.own if counts else 0,
        "local": counts.local if counts else 0,
        "external": counts.external if counts else 0,
        "cost": sum(row["cost"] for row in rows),
        "references": rows,
    }
