"""Versions to route, evaluate and roll out in tests, without files behind them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from inhouse.db.unit import WriteUnit
from inhouse.registry import versions
from inhouse.registry.versions import Version
from inhouse.tasks.spec import TaskSpec


def add_version(unit: WriteUnit, spec: TaskSpec, at: datetime, **changes: Any) -> Version:
    """Register the next version of a task, a candidate from no run; ``changes`` are arguments of
    ``registry.versions.register``."""
    fields: dict[str, Any] = {
        "task": spec.name,
        "task_revision": spec.revision,
        "artifact": spec.name,
        "store_version": "20260101T000000Z-0badcafe",
        "manifest_digest": "sha256:00",
        "recipe": "encoder-head.v1",
        "run_id": None,
        "snapshot_id": None,
        **changes,
    }
    return versions.register(unit, at=at, **fields)
