"""Prometheus series that need several packages. They are set from a report, not kept up to date."""

from __future__ import annotations

from prometheus_client import Gauge

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
_UNKNOWN = float("nan")


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
