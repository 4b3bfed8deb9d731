"""What Prometheus sees of the model store."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

QUARANTINED = Gauge(
    "inhouse_store_quarantined_versions",
    "Versions that failed verification and are not served. More than 0 wants a person.",
)
FAILED = Counter(
    "inhouse_store_verification_failures",
    "Versions that this process found damaged, by model.",
    ["model"],
)
FALLBACKS = Counter(
    "inhouse_store_fallbacks",
    "Times that `current` was damaged and an earlier version was opened instead, by model.",
    ["model"],
)
