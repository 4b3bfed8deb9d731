"""Prometheus series of the call path. Every label is bounded: names of tasks and keys of enums, and
references up to a number that no installation configures."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

OTHER: Final = "other"
_MOST_REFERENCES: Final = 256
_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)

CALLS = Counter(
    "inhouse_calls_total",
    "Calls by how they ended; free chats are task '-'.",
    ("task", "arm", "status"),
)
CALL_SECONDS = Histogram(
    "inhouse_call_seconds",
    "Time of a call, by who answered; 'none' for calls without an answer.",
    ("task", "hosting"),
    buckets=_BUCKETS,
)
ATTEMPTS = Counter(
    "inhouse_attempts_total",
    "Tries of backends: 'ok', or the code of the failure.",
    ("reference", "outcome"),
)
STALE = Gauge(
    "inhouse_mirror_stale",
    "1 while the database does not answer and the last copy is used.",
    ("table",),
)

call_counter = lru_cache(maxsize=1024)(CALLS.labels)
call_timer = lru_cache(maxsize=1024)(CALL_SECONDS.labels)
_seen: set[str] = set()


@lru_cache(maxsize=4096)
def attempt_counter(reference: str, outcome: str) -> Counter:
    """The counter of one backend's tries. A caller may name any model of an upstream, so from the
    257th reference on they share the label ``other``."""
    if len(_seen) < _MOST_REFERENCES:
        _seen.add(reference)
    return ATTEMPTS.labels(reference if reference in _seen else OTHER, outcome)
