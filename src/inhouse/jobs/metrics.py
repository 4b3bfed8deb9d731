"""What Prometheus sees of jobs."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_ENDED = Counter("inhouse_jobs", "Attempts at jobs that ended, by how.", ["name", "status"])
_SECONDS = Histogram(
    "inhouse_job_seconds",
    "Seconds that an attempt at a job took.",
    ["name"],
    buckets=(0.1, 1, 5, 15, 60, 300, 900, 3600),
)


def ended(name: str, status: str, seconds: float) -> None:
    """Count an attempt: done, failed, cancelled, queued (to be tried again) or lost."""
    _ENDED.labels(name, status).inc()
    _SECONDS.labels(name).observe(seconds)
