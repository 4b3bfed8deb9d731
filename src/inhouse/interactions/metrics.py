"""Prometheus series of the recorder."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter("inhouse_records_total", "Interactions committed to the database.")
QUEUE = Gauge("inhouse_record_queue", "Interactions that wait for their commit.")
COMMIT_SECONDS = Histogram(
    "inhouse_record_commit_seconds",
    "Time of one commit of the recorder.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0),
)
FAILURES = Counter("inhouse_record_failures_total", "Commits that failed and are tried again.")
REFUSED = Counter("inhouse_record_refused_total", "Interactions refused because the queue is full.")
LOST = Counter("inhouse_record_lost_total", "Interactions that the database can never take.")
