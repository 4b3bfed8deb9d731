"""``/v1/settings``: which settings are in force, and reading them again."""

from __future__ import annotations

from fastapi import APIRouter, Request

from inhouse.api.depends import Operator, Reader
from inhouse.client.settings import SettingsState, SettingValue
from inhouse.dashboard.settings_view import values_of
from inhouse.reload import Loaded, Reloading

router = APIRouter(prefix="/v1/settings", tags=["operation"])


@router.get("")
def show(request: Request, _: Reader) -> SettingsState:
    """The state of the settings."""
    return _state(_of(request).state)


@router.get("/values")
def list_values(request: Request, _: Reader) -> list[SettingValue]:
    """Every setting in force, with where it says so; secrets are masked."""
    reloading = _of(request)
    return [
        SettingValue.model_validate(value, from_attributes=True)
        for value in values_of(reloading.in_force, reloading.state)
    ]


@router.post("/reload")
def reload(request: Request, _: Operator) -> SettingsState:
    """Read ``inhouse.toml`` now, without waiting for the look twice a second. A file that is not
    valid changes nothing; ``error`` says where it is wrong."""
    return _state(_of(request).reload())


def _of(request: Request) -> Reloading:
    found = request.app.state.reloading
    if not isinstance(found, Reloading):
        raise TypeError("the server has no settings to follow")
    return found


def _state(state: Loaded) -> SettingsState:
    return SettingsState(
        loaded_at=state.at.isoformat(),
        revision=state.revision,
        error=state.error,
        needs_restart=list(state.needs_restart),
    )
