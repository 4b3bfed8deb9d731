"""What Prometheus sees of automation."""

from __future__ import annotations

from prometheus_client import Gauge
from sqlalchemy import func, select

from inhouse.automation.steps import ProposalState
from inhouse.automation.tables import Proposal
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit

OPEN = Gauge("inhouse_proposals_open", "Proposals of automation that wait for a person.", ["what"])
_table = table_of(Proposal)


def observe(unit: ReadUnit) -> None:
    """Set the series to what is stored."""
    counted = (
        select(_table.c.what, func.count().label("open"))
        .where(_table.c.state == ProposalState.OPEN.value)
        .group_by(_table.c.what)
    )
    OPEN.clear()
    for row in unit.execute(counted):
        OPEN.labels(row.what).set(row.open)
