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
    "Tries of backends: 'ok', or the code of the failure or of the breaker that left one out.",
    ("reference", "outcome"),
)
BREAKER_STATE = Gauge(
    "inhouse_breaker_state",
    "Circuit breaker of a backend: 0 closed, 1 half-open, 2 open.",
    ("reference",),
)
BREAKER_OPENED = Counter(
    "inhouse_breaker_opened_total",
    "Times that the circuit breaker of a backend opened, after a failed probe too.",
    ("reference",),
)
SHADOWS = Counter(
    "inhouse_shadow_calls_total",
    "Copies of calls for a candidate in shadow: answered, failed, or dropped because too many were "
    "under way or could not be recorded.",
    ("task", "status"),
)
STALE = Gauge(
    "inhouse_mirror_stale",
    "1 while the database does not answer and the last copy is used.",
    ("table",),
)

ROUTES_AGE = Gauge(
    "inhouse_routes_age_seconds",
    "Seconds since this process last read the routes; it grows while the database does not answer.",
)

call_counter = lru_cache(maxsize=1024)(CALLS.labels)
call_timer = lru_cache(maxsize=1024)(CALL_SECONDS.labels)
_seen: set[str] = set()


@lru_cache(maxsize=4096)
def attempt_counter(reference: str, outcome: str) -> Counter:
    """The counter of one backend's tries."""
    return ATTEMPTS.labels(_label(reference), outcome)


def state_gauge(reference: str) -> Gauge:
    """The gauge of one backend's circuit breaker."""
    return BREAKER_STATE.labels(_label(reference))


def opened_counter(reference: str) -> Counter:
    """The counter of how often one backend's circuit breaker opened."""
    return BREAKER_OPENED.labels(_label(reference))


def _label(reference: str) -> str:
    """A caller may name any model of an upstream, so from the 257th reference on they share the
    label ``other``."""
    if len(_seen) < _MOST_REFERENCES:
        _seen.add(reference)
    return reference if reference in _seen else OTHER
