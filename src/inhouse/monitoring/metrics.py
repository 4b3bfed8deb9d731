"""Prometheus series that need several packages. They are set from a report, not kept up to date."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Gauge

from inhouse.monitoring.alert_records import AlertRecord
from inhouse.monitoring.report import IndependenceReport

INDEPENDENCE = Gauge(
    "inhouse_independence_score",
    "How far the tasks can live without upstreams, 0 to 100; NaN when no call was answered.",
)
INDEPENDENCE_POINTS = Gauge(
    "inhouse_independence_points",
    "Points of the independence score by part: deployment (40), dependence (40), parity (20).",
    ("part",),
)
OWN_SHARE = Gauge(
    "inhouse_own_answer_ratio",
    "Share of a task's answered calls in the window that own models answered, 0 to 1.",
    ("task",),
)
ALERTS_OPEN = Gauge(
    "inhouse_alerts_open",
    "Alerts that are open in the database, which is the same in every process: take the maximum.",
    ("code", "level"),
)
NOTICES = Counter(
    "inhouse_notices_total",
    "Notices of alerts that this process handed to a channel, by what became of them.",
    ("channel", "result"),
)
_UNKNOWN = float("nan")


def expect_notices(channels: Iterable[str]) -> None:
    """Begin at zero, so that the first notice of a channel is seen as an increase."""
    for channel in channels:
        for result in ("sent", "failed"):
            NOTICES.labels(channel, result)


def observe(report: IndependenceReport) -> None:
    """Set the series to a report's figures; tasks that left the window leave the series."""
    parts = report.parts
    INDEPENDENCE.set(parts.score if parts else _UNKNOWN)
    points = INDEPENDENCE_POINTS.labels
    points("deployment").set(parts.deployment_points if parts else _UNKNOWN)
    points("dependence").set(parts.dependence_points if parts else _UNKNOWN)
    points("parity").set(parts.parity_points if parts else _UNKNOWN)
    OWN_SHARE.clear()
    for line in report.tasks:
        OWN_SHARE.labels(line.task).set(line.own_percent / 100)


def observe_alerts(alerts: Iterable[AlertRecord]) -> None:
    """Count the open alerts by code."""
    ALERTS_OPEN.clear()
    for alert in alerts:
        ALERTS_OPEN.labels(alert.code, alert.level).inc()
