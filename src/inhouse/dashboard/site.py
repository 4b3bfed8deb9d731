"""The pages of all areas, joined to the application."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI

from inhouse.bootstrap import App
from inhouse.dashboard import (
    assets,
    automation,
    datasets,
    evaluations,
    experiments,
    interactions,
    login,
    overview,
    rollouts,
    settings,
    tasks,
    training,
    upstreams,
    versions,
)
from inhouse.dashboard.access import Door, Failures
from inhouse.dashboard.session import Sessions
from inhouse.dashboard.shell import Site, read_secret
from inhouse.reload import Reloading

_AREAS: Final = (
    assets,
    login,
    overview,
    interactions,
    settings,
    upstreams,
    tasks,
    datasets,
    training,
    versions,
    evaluations,
    rollouts,
    experiments,
    automation,
)


def mount(control: FastAPI, app: App, reloading: Reloading) -> Site:
    """Add the pages to an application; they are no part of its API document."""
    for area in _AREAS:
        control.include_router(area.router, include_in_schema=False)
    site = Site(
        app=app,
        reloading=reloading,
        door=Door(app.keys, Sessions(app.database, app.keys, app.clock)),
        failures=Failures(app.clock),
        secret=read_secret(app.database),
    )
    control.state.site = site
    return site
