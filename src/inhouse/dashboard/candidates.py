"""What may answer a task, for forms that move its traffic."""

from __future__ import annotations

from typing import Final

from inhouse.core.states import VersionStatus
from inhouse.db.unit import ReadUnit
from inhouse.registry import versions
from inhouse.tasks.spec import TaskSpec

_STARTABLE: Final = (VersionStatus.CANDIDATE, VersionStatus.ACTIVE, VersionStatus.DEPRECATED)


def candidates(unit: ReadUnit, spec: TaskSpec) -> list[str]:
    """References of the versions that fit a task as it is declared now, newest first, and of its
    general models."""
    fit = [
        one.reference
        for one in versions.list_versions(unit, spec.name)
        if one.status in _STARTABLE and one.task_revision == spec.revision
    ]
    return list(dict.fromkeys([*fit, *spec.chain]))
