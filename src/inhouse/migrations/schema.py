"""Every table of the product, gathered in one metadata."""

from __future__ import annotations

from sqlalchemy import MetaData

import inhouse.automation.tables
import inhouse.datasets.tables
import inhouse.db.tables
import inhouse.evaluation.tables
import inhouse.feedback.tables
import inhouse.gateway.tables
import inhouse.interactions.tables
import inhouse.jobs.tables
import inhouse.monitoring.tables
import inhouse.registry.tables
import inhouse.rollout.tables
import inhouse.training.tables  # noqa: F401
from inhouse.db.base import Base


def metadata() -> MetaData:
    """The metadata that holds every table."""
    return Base.metadata
