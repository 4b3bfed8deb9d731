"""The ASGI application over a wired App: what is hot at once, the rest when it is loaded."""

from __future__ import annotations

import asyncio

from inhouse.api.auth import Access
from inhouse.api.body import AsgiApp
from inhouse.api.dispatch import Dispatcher
from inhouse.api.later import Later
from inhouse.bootstrap import App
from inhouse.reload import Reloading


def app(wired: App) -> Dispatcher:
    """The ASGI application. Its lifespan starts the App and, at the end, stops it."""
    access, stopping, reloading = Access(wired.keys), asyncio.Event(), Reloading(wired)

    def control() -> AsgiApp:
        from inhouse.api.control import control as build  # noqa: PLC0415 - a quarter of a start

        return build(wired, access, stopping, reloading)

    return Dispatcher(wired, access, Later(control), stopping, reloading)
