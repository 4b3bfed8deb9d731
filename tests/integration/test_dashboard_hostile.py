"""Pages against what wishes them ill: every form, hostile texts, addresses that make no sense."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import insert

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.core.ids import new_id
from inhouse.dashboard.navigation import GROUPS
from inhouse.dashboard.site import _AREAS
from inhouse.db.dialects import table_of
from inhouse.gateway.keys import Role, create, revoke
from inhouse.interactions.entry import InteractionRecord, Status
from inhouse.settings import Settings, TaskSettings, UpstreamSettings
from inhouse.testing.visitor import Visitor
from inhouse.training import runs
from inhouse.training.tables import TrainingRun

PAGES = [item.path for group in GROUPS for item in group.items]
MARKUP = "<img src=x onerror=alert(1)>"
HOSTILE = (MARKUP, '"><script>alert(2)</script>', "' onmouseover='alert(3)", "javascript:alert(4)")
SCHEME = "javascript:"
HUGE = "9" * 30
FOREVER = "9" * 5000
ANYBODY = {"/login", "/logout", "/tasks/{name}/try"}
"""Forms that need no right to operate."""
FORMS = sorted(
    route.path
    for area in _AREAS
    for route in area.router.routes
    if "POST" in getattr(route, "methods", ())
)


class _Reader(HTMLParser):
    """Reads a page as a browser does."""

    def __init__(self) -> None:
        super().__init__()
        self.live: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in ("img", "iframe", "object") or (tag == "script" and "src" not in named):
            self.live.append(tag)
        self.live += [name for name in named if name.startswith("on")]
        self.live += [value for value in named.values() if (value or "").startswith(SCHEME)]


def live(page: str) -> list[str]:
    """What on a page would run that none of our templates holds; values of fields may say so."""
    reader = _Reader()
    reader.feed(re.sub(r' value="javascript:[^"]*"', "", page))
    return reader.live


class Place(NamedTuple):
    app: App
    server: ServerHandle
    keys: dict[str, str]
    ids: list[str]

    def visitor(self, role: str) -> Visitor:
        made = Visitor(self.server.url)
        assert made.sign_in(self.keys[role]).status == 303
        return made


def open_app(folder: Path) -> App:
    schema = {"type": "object", "properties": {HOSTILE[1]: {"type": "string"}}}
    common: dict[str, Any] = {"prompt": f"{MARKUP} {{{{ input }}}}", "chain": (f"up/{MARKUP}",)}
    settings = Settings(
        upstreams={"up": UpstreamSettings(base_url="http://127.0.0.1:9/v1")},
        tasks={
            "tone": TaskSettings(kind="choice", labels=HOSTILE, description=MARKUP, **common),
            "who": TaskSettings(kind="spans", labels=HOSTILE, **common),
            "obj": TaskSettings(kind="json", schema=schema, **common),
        },
        folder=folder,
    )
    return bootstrap(settings)


def make_key(app: App, role: Role) -> tuple[str, str]:
    with app.database.write() as unit:
        made = create(unit, f"{role} {MARKUP}", role, app.clock.now())
    app.keys.refresh()
    return made


def record(app: App, task: str, text: str, output: Any) -> str:
    one = InteractionRecord(
        id=new_id(),
        created_at=app.clock.now(),
        task=task,
        task_revision=app.catalog.get(task).revision,
        status=Status.ANSWERED,
        input=text,
        output=output,
        raw=text,
        reference=f"up/{text[:100]}",
        hosting="external",
        arm="incumbent",
        tags={text[:50]: text[:50]},
        attempts=[
            {"reference": text[:50], "ok": False, "code": text[:50], "latency_ms": 1.0}
            | {"message": text}
        ],
        latency_ms=1.0,
    )
    app.recorder.put(one, confirm=False)
    return one.id


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    app = open_app(tmp_path_factory.mktemp("hostile"))
    keys = {role.value: make_key(app, role)[1] for role in Role}
    with serve_in_thread(app) as server:
        ids = []
        for text in (*HOSTILE, "\u202eback\u202c" * 100, "x" * 100_000):
            span = {"start": 0, "end": 4, "label": HOSTILE[1], "text": text[:4]}
            ids.append(record(app, "tone", text, {"label": text}))
            ids.append(record(app, "who", text, {"spans": [span]}))
            ids.append(record(app, "obj", text, {text: text}))
        app.recorder.flush()
        yield Place(app, server, keys, ids)


def filled(path: str) -> str:
    """An address of a form: of a task and an interaction that are there."""
    return re.sub(r"\{(\w+)\}", lambda found: "1" if found[1] == "number" else "tone", path)


@pytest.mark.parametrize("path", FORMS)
def test_every_form_wants_a_token_and_a_right(place: Place, path: str) -> None:
    viewer, operator = place.visitor("viewer"), place.visitor("operator")
    token = re.search(r'"X-CSRF-Token": "(\w+)"', viewer.get("/settings").text)
    assert token is not None
    assert operator.post(filled(path), {"reason": "none"}).status == 403
    assert operator.post(filled(path), {"csrf": token[1]}).status == 403
    if path not in ANYBODY:
        refused = viewer.post(filled(path), {"csrf": token[1], "reason": "none"})
        assert (refused.status, "No right" in refused.text) == (403, True)


def test_nothing_hostile_comes_alive(place: Place) -> None:
    visitor = place.visitor("admin")
    details = [f"/interactions/{one}" for one in place.ids]
    beside = [f"/interactions?open={one}" for one in place.ids[:3]]
    tasks = ["/tasks/tone", "/tasks/who", "/tasks/obj"]
    for path in (*PAGES, *tasks, *details, *beside):
        answer = visitor.get(path)
        assert answer.status == 200, path
        assert live(answer.text) == [], path
    assert "&lt;img src=x" in visitor.get("/tasks/tone").text
    fields = {"csrf": visitor.token(), "input": MARKUP, "model": MARKUP, "unit": HOSTILE[2]}
    tried = visitor.post("/tasks/tone/try", fields)
    assert "&lt;img src=x" in tried.text
    assert live(tried.text) == []


@pytest.mark.parametrize("value", [HUGE, FOREVER, "-1", "%00", "%ff", "http://[", MARKUP[:4]])
def test_addresses_that_make_no_sense_are_told_so(place: Place, value: str) -> None:
    visitor = place.visitor("operator")
    names = ("task", "open", "window", "before", "after", "offset", "split", "since", "next", "tag")
    looked = [f"{path}?{name}={value}" for path in PAGES for name in names]
    looked += [f"{path}/{value}" for path in PAGES if path != "/"]
    looked += [f"/versions/tone/{value}", f"/training/{value}/events", f"/static/{value}"]
    for path in looked:
        answer = visitor.get(path)
        assert answer.status < 500, path
        assert live(answer.text) == [], path
    assert visitor.get("/settings", hx_request="true", hx_current_url=value).status == 200
    token = visitor.token()
    for path, field in (
        ("/tasks/tone/route", "revision"),
        ("/tasks/tone/route", "weight"),
        ("/tasks/tone/rollback", "revision"),
        (f"/interactions/{place.ids[0]}/feedback", "correction"),
        (f"/versions/tone/{value}/archive", "reason"),
        ("/training", "snapshot"),
    ):
        fields = {"csrf": token, "candidate": "up/x", "weight": "1", "reason": "none"}
        assert visitor.post(path, {**fields, field: value}).status < 500, (path, field)
    assert visitor.post("/tasks/tone/rollback", {"csrf": token, "reason": "a\0"}).status == 422


@pytest.mark.parametrize("value", ["[" * 20_000, '{"a":' * 5_000, "NaN", "1e999"])
def test_corrections_that_are_no_answer_are_refused(place: Place, value: str) -> None:
    visitor = place.visitor("reviewer")
    page = visitor.get(f"/interactions/{place.ids[2]}")
    token = re.search(r'name="csrf" value="(\w+)"', page.text)
    assert token is not None
    for one in place.ids[:3]:
        fields = {"csrf": token[1], "correction": value}
        assert visitor.post(f"/interactions/{one}/feedback", fields).status == 422


@pytest.mark.parametrize("by_cookie", [True, False])
def test_a_stream_ends_with_the_key_of_whoever_reads_it(place: Place, by_cookie: bool) -> None:
    app, at, run_id = place.app, place.app.clock.now(), new_id()
    row = {"id": run_id, "task": "tone", "task_revision": "r", "recipe": "encoder-head.v1"}
    row |= {"settings": {}, "snapshot_id": new_id(), "snapshot_hash": "h", "status": "running"}
    row |= {"job_id": new_id(), "actor": "me", "created_at": at}
    with app.database.write() as unit:
        unit.execute(insert(table_of(TrainingRun)).values(**row))
        runs.append(unit, run_id, "progress", {"note": "seen"}, at=at)
    key_id, key = make_key(app, Role.VIEWER)
    headers = {"accept": "text/event-stream", "authorization": f"Bearer {key}"}
    if by_cookie:
        visitor = Visitor(place.server.url)
        assert visitor.sign_in(key).status == 303
        cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        headers = {"accept": "text/event-stream", "cookie": cookies}
    path = f"/training/{run_id}/events" if by_cookie else f"/v1/training/runs/{run_id}/events"
    connection = http.client.HTTPConnection(place.server.url.removeprefix("http://"), timeout=30)
    connection.request("GET", path, headers=headers)
    stream = connection.getresponse()
    assert stream.status == 200
    assert b"id: 1" in stream.readline()
    with app.database.write() as unit:
        revoke(unit, key_id, at)
    app.keys.refresh()
    with app.database.write() as unit:
        runs.append(unit, run_id, "progress", {"note": "secret"}, at=at)
    rest = stream.read()
    assert b"seen" in rest
    assert b"secret" not in rest
    connection.close()
