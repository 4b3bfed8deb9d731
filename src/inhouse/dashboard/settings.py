"""``/settings``: what is in force, where it says so, and what is wrong with the file."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from inhouse.dashboard.settings_view import values_of
from inhouse.dashboard.shell import Operating, Reading
from inhouse.settings import FILE_NAME

router = APIRouter()


@router.get("/settings")
def show(page: Reading) -> Response:
    """The settings in force."""
    reloading = page.site.reloading
    values = values_of(reloading.in_force, reloading.state)
    return page.render(
        "settings/show.html",
        title="Settings",
        nav="settings",
        state=reloading.state,
        file=page.app.settings.folder / FILE_NAME,
        declared=[value for value in values if value.source != "default"],
        defaults=[value for value in values if value.source == "default"],
    )


@router.post("/settings/reload")
def reload(page: Operating) -> Response:
    """Read the file now."""
    state = page.site.reloading.reload()
    told = "inhouse.toml holds an error" if state.error else "inhouse.toml was read and is valid"
    return page.redirect("/settings", toast=told)
