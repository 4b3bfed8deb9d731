"""A server with keys, and people who are signed in to its pages. For tests of pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.gateway.keys import Role, create
from inhouse.settings import ServerSettings, Settings, TaskSettings, UpstreamSettings
from inhouse.testing.visitor import Visitor


class Place(NamedTuple):
    """A server, and two who are signed in."""

    app: App
    operator: Visitor
    viewer: Visitor


@contextmanager
def open_place(folder: Path, tasks: Mapping[str, TaskSettings]) -> Iterator[Place]:
    """A server without a worker in ``folder``. Its one upstream, ``up``, answers nobody."""
    upstreams = {"up": UpstreamSettings(base_url="http://127.0.0.1:9/v1")}
    server = ServerSettings(workers=0)
    app = bootstrap(Settings(server=server, upstreams=upstreams, tasks=dict(tasks), folder=folder))
    with app.database.write() as unit:
        keys = {role: create(unit, role.value, role, app.clock.now())[1] for role in Role}
    app.keys.refresh()
    with serve_in_thread(app) as running:
        operator, viewer = Visitor(running.url), Visitor(running.url)
        for visitor, role in ((operator, Role.OPERATOR), (viewer, Role.VIEWER)):
            if visitor.sign_in(keys[role]).status != 303:
                raise RuntimeError(f"a {role.value} cannot sign in")
        yield Place(app, operator, viewer)
