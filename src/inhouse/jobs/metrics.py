"""What Prometheus sees of jobs."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from inhouse.db.unit import ReadUnit
from inhouse.jobs.pause import paused

_ENDED = Counter("inhouse_jobs", "Attempts at jobs that ended, by how.", ["name", "status"])
_SECONDS = Histogram(
    "inhouse_job_seconds",
    "Seconds that an attempt at a job took.",
    ["name"],
    buckets=(0.1, 1, 5, 15, 60, 300, 900, 3600),
)

_PAUSED = Gauge("inhouse_jobs_paused", "1 while all background work is paused, else 0.")


def observe(unit: ReadUnit) -> None:
    """Set what is stored, not counted."""
    _PAUSED.set(paused(unit) is not None)


def ended(name: str, status: str, seconds: float) -> None:
    """Count an attempt: done, failed, cancelled, queued (to be tried again) or lost."""
    _ENDED.labels(name, status).inc()
    _SECONDS.labels(name).observe(seconds)
