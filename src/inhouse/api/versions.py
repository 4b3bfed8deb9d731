"""``/v1/versions``: the own models that exist."""

from __future__ import annotations

from fastapi import APIRouter

from inhouse.api.depends import OfTask, Reader, Wired
from inhouse.client.control import Version
from inhouse.registry import versions

router = APIRouter(tags=["versions"])


@router.get("/v1/versions")
def list_versions(app: Wired, _: Reader, *, task: OfTask = None) -> list[Version]:
    """Model versions, newest first."""
    with app.database.read() as unit:
        return [Version.model_validate(version) for version in versions.list_versions(unit, task)]
