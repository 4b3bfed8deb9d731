"""What Prometheus sees of training."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_RUNS = Counter("inhouse_training_runs", "Training runs that ended, by how.", ["recipe", "status"])
_SECONDS = Histogram(
    "inhouse_training_run_seconds",
    "Seconds from the start of a training run to its end.",
    ["recipe"],
    buckets=(5, 15, 30, 60, 120, 300, 600, 1800, 7200),
)


def ended(recipe: str, status: str, seconds: float | None) -> None:
    """Count a run that succeeded, failed or was cancelled; ``seconds`` None if it never started."""
    _RUNS.labels(recipe, status).inc()
    if seconds is not None:
        _SECONDS.labels(recipe).observe(seconds)
