"""The independence report as a document, as it travels."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from inhouse.client.control import Answer, Independence
from inhouse.client.overview import Savings

ReportFormat = Literal["html", "md", "json"]


class IndependenceThen(Answer):
    """The score over the same number of days up to ``at``; null when nothing was answered."""

    at: datetime
    score: float | None


class IndependenceWay(Answer):
    """One step, simulated by itself: the score with it, and the points won in all and by part.

    ``kind``: take over (an own model, certified, answers all calls), traffic (only the calls),
    certify (only the certificate), bring home (external calls to a model on one's own machines).
    """

    task: str
    kind: Literal["take over", "traffic", "certify", "bring home"]
    words: str
    score: float
    points: float
    deployment: float
    dependence: float
    parity: float


class IndependenceDocument(Answer):
    """The report, its past by day (``past`` ends with now), the steps that would raise it, most
    points first, what own models saved, and what all calls cost by task."""

    made_at: datetime
    report: Independence
    past: list[IndependenceThen]
    ways: list[IndependenceWay]
    savings: Savings
    costs: dict[str, float]
