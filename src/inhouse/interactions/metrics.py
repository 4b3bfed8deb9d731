"""Prometheus series of the recorder."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter("inhouse_records_total", "Interactions committed to the database.")
QUEUE = Gauge("inhouse_record_queue", "Interactions that wait for their commit.")
COMMIT_SECONDS = Histogram(
    "inhouse_record_commit_seconds",
    "Time of one commit of the recorder.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0),
)
FAILURES = Counter("inhouse_record_failures_total", "Commits that failed and are tried again.")
REFUSED = Counter("inhouse_record_refused_total", "Calls refused because they cannot be recorded.")
UNCONFIRMED = Counter(
    "inhouse_record_unconfirmed_total", "Calls answered before their commit, although durable."
)
DROPPED = Counter("inhouse_record_dropped_total", "Calls answered that were never recorded.")
LOST = Counter("inhouse_record_lost_total", "Interactions that the database can never take.")
