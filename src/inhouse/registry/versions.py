"""Model versions: registered once, never changed but for their status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update

from inhouse.core.errors import Conflict, NotFound
from inhouse.core.ids import new_id
from inhouse.core.states import VERSIONS, VersionStatus
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.registry.tables import ModelVersion

_table = table_of(ModelVersion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A model version. ``rejected`` is {by, why, at} once a gate or a rollback refused it, or a
    person put it away."""

    id: str
    task: str
    number: int
    task_revision: str
    status: VersionStatus
    artifact: str
    store_version: str
    manifest_digest: str
    recipe: str
    run_id: str | None
    snapshot_id: str | None
    rejected: Mapping[str, Any] | None
    created_at: datetime

    @property
    def reference(self) -> str:
        """How the version is called: ``<task>@<number>``."""
        return f"{self.task}@{self.number}"


def register(
    unit: WriteUnit,
    *,
    task: str,
    task_revision: str,
    artifact: str,
    store_version: str,
    manifest_digest: str,
    recipe: str,
    run_id: str | None,
    snapshot_id: str | None,
    at: datetime,
) -> Version:
    """Enter a published artifact as the task's next version, a candidate.

    The version of a training run is entered once: registering the same ``run_id`` again returns the
    version that is there.
    """
    if run_id is not None and (known := _by_run(unit, run_id)) is not None:
        return known
    _take_turns(unit, task)
    highest = unit.execute(select(func.max(_table.c.number)).where(_table.c.task == task)).scalar()
    row = {
        "id": new_id(),
        "task": task,
        "number": (highest or 0) + 1,
        "task_revision": task_revision,
        "status": VersionStatus.CANDIDATE.value,
        "artifact": artifact,
        "store_version": store_version,
        "manifest_digest": manifest_digest,
        "recipe": recipe,
        "run_id": run_id,
        "snapshot_id": snapshot_id,
        "rejected": None,
        "created_at": at,
    }
    unit.execute(insert(_table).values(**row))
    return by_id(unit, str(row["id"]))


def _take_turns(unit: WriteUnit, task: str) -> None:
    """Two who register at once get two numbers. SQLite has one writer at a time anyway."""
    if unit.dialect.name == "postgresql":
        unit.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"version of {task}"))))


def by_id(unit: ReadUnit, version_id: str) -> Version:
    """The version with that id. Raises NotFound."""
    row = unit.execute(select(_table).where(_table.c.id == version_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no model version {version_id}", code="version-not-found")
    return _version(row)


def get(unit: ReadUnit, task: str, number: int, *, lock: bool = False) -> Version:
    """The version ``task@number``. ``lock``: nobody else changes it or builds on its status until
    the unit ends (SQLite has one writer at a time anyway). Raises NotFound."""
    statement = select(_table).where(_table.c.task == task, _table.c.number == number)
    if lock:
        statement = statement.with_for_update()
    row = unit.execute(statement).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no model version {task}@{number}",
            code="version-not-found",
            hint="`inhouse versions list` shows those there are",
        )
    return _version(row)


def list_versions(unit: ReadUnit, task: str | None = None) -> list[Version]:
    """Versions, newest first."""
    statement = select(_table).order_by(_table.c.created_at.desc(), _table.c.number.desc())
    if task is not None:
        statement = statement.where(_table.c.task == task)
    return [_version(row) for row in unit.execute(statement)]


def of_artifact(unit: ReadUnit, artifact: str, store_version: str) -> list[Version]:
    """The versions whose files are that version in the ModelStore."""
    statement = select(_table).where(
        _table.c.artifact == artifact, _table.c.store_version == store_version
    )
    return [_version(row) for row in unit.execute(statement)]


def set_status(
    unit: WriteUnit, version_id: str, status: VersionStatus, *, by: str, why: str, at: datetime
) -> Version:
    """Move a version to another status by compare-and-set. A version that has it stays as it is.

    Raises Conflict when the table of transitions does not hold the step, or somebody else was
    first; NotFound when there is no such version.
    """
    current = by_id(unit, version_id)
    if current.status is status:
        return current
    VERSIONS.check(current.status, status)
    refused: Mapping[str, Any] | None = None
    if status in (VersionStatus.REJECTED, VersionStatus.ARCHIVED):
        refused = current.rejected or {"by": by, "why": why, "at": at.isoformat()}
    values = {"status": status.value, "rejected": refused}
    changed = unit.execute(
        update(_table)
        .where(_table.c.id == version_id, _table.c.status == current.status.value)
        .values(**values)
    )
    if changed.rowcount != 1:
        raise Conflict(f"{current.reference} changed meanwhile", code="version-changed")
    return by_id(unit, version_id)


def _by_run(unit: ReadUnit, run_id: str) -> Version | None:
    row = unit.execute(select(_table).where(_table.c.run_id == run_id)).one_or_none()
    return None if row is None else _version(row)


def _version(row: Row[Any]) -> Version:
    fields = dict(row._mapping)
    return Version(**{**fields, "status": VersionStatus(fields["status"])})
