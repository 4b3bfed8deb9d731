"""Who gets to see and to do what on the pages, over real sockets and without a browser."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import text

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.dashboard.navigation import GROUPS
from inhouse.dashboard.security import CONTENT_POLICY
from inhouse.gateway.keys import Role, create, revoke
from inhouse.settings import Settings, TaskSettings, UpstreamSettings
from inhouse.testing.visitor import HTML, Visitor

PAGES = [item.path for group in GROUPS for item in group.items]
INLINE = re.compile(
    r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", re.IGNORECASE
)


class Guarded(NamedTuple):
    app: App
    server: ServerHandle
    keys: dict[str, str]


def open_app(folder: Path) -> App:
    settings = Settings(
        upstreams={"up": UpstreamSettings(base_url="http://127.0.0.1:9/v1")},
        tasks={"tone": TaskSettings(builtin="sentiment", kind="choice", chain=("up/m",))},
        folder=folder,
    )
    return bootstrap(settings)


def make_key(app: App, role: Role, name: str = "") -> tuple[str, str]:
    with app.database.write() as unit:
        made = create(unit, name or f"the {role}", role, app.clock.now())
    app.keys.refresh()
    return made


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server with a key of every role."""
    app = open_app(tmp_path_factory.mktemp("guarded"))
    keys = {role.value: make_key(app, role)[1] for role in Role}
    with serve_in_thread(app) as server:
        yield Guarded(app, server, keys)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHandle]:
    """A server without any key."""
    with serve_in_thread(open_app(tmp_path_factory.mktemp("local"))) as server:
        yield server


@pytest.fixture
def viewer(guarded: Guarded) -> Visitor:
    visitor = Visitor(guarded.server.url)
    assert visitor.sign_in(guarded.keys["viewer"]).status == 303
    return visitor


@pytest.fixture
def operator(guarded: Guarded) -> Visitor:
    visitor = Visitor(guarded.server.url)
    assert visitor.sign_in(guarded.keys["operator"]).status == 303
    return visitor


@pytest.mark.parametrize("path", [*PAGES, "/nowhere"])
def test_every_page_forbids_what_is_not_its_own(viewer: Visitor, path: str) -> None:
    answer = viewer.get(path)
    assert answer.status == (404 if path == "/nowhere" else 200)
    assert answer.headers["content-security-policy"] == CONTENT_POLICY
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert INLINE.findall(answer.text) == []


@pytest.mark.parametrize("path", PAGES)
def test_who_has_not_signed_in_is_asked_to(guarded: Guarded, path: str) -> None:
    answer = Visitor(guarded.server.url).get(path)
    onward = "" if path == "/" else "?next=" + path.replace("/", "%2F")
    assert (answer.status, answer.headers["location"]) == (303, f"/login{onward}")


def test_a_part_of_a_page_sends_the_whole_page_to_the_form(guarded: Guarded) -> None:
    current = f"{guarded.server.url}/upstreams?x=1"
    answer = Visitor(guarded.server.url).get(
        "/upstreams", hx_request="true", hx_current_url=current
    )
    assert (answer.status, answer.text) == (204, "")
    assert answer.headers["hx-redirect"] == "/login?next=%2Fupstreams%3Fx%3D1"


def test_a_key_opens_a_session_that_scripts_cannot_read(guarded: Guarded) -> None:
    visitor = Visitor(guarded.server.url)
    answer = visitor.sign_in(guarded.keys["viewer"])
    assert (answer.status, answer.headers["location"]) == (303, "/settings")
    cookie = answer.cookies["inhouse_session"]
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "strict", "")
    assert cookie["max-age"] == str(12 * 3600)
    assert visitor.get("/settings").status == 200
    with guarded.app.database.read() as unit:
        digests = unit.execute(text("SELECT digest FROM page_session")).scalars().all()
    assert cookie.value not in digests


def test_behind_tls_the_cookie_is_secure(guarded: Guarded) -> None:
    visitor = Visitor(guarded.server.url)
    answer = visitor.sign_in(guarded.keys["viewer"], origin=f"https://{visitor.place}")
    assert answer.cookies["inhouse_session"]["secure"] is True


@pytest.mark.parametrize("shown", ["", "ih_unknown", "ih_\u00e9 \u2603"])
def test_a_wrong_key_opens_nothing(guarded: Guarded, shown: str) -> None:
    visitor = Visitor(guarded.server.url)
    answer = visitor.sign_in(shown)
    assert (answer.status, "unknown or revoked" in answer.text) == (401, True)
    assert visitor.cookies == {}
    assert not shown or shown not in answer.text


def test_a_key_for_applications_opens_no_page(guarded: Guarded) -> None:
    answer = Visitor(guarded.server.url).sign_in(guarded.keys["application"])
    assert answer.status == 403
    assert "viewer, reviewer, operator, admin" in answer.text


def test_too_many_wrong_keys_have_to_wait(tmp_path: Path) -> None:
    app = open_app(tmp_path)
    _, key = make_key(app, Role.ADMIN)
    with serve_in_thread(app) as server:
        visitor = Visitor(server.url)
        assert [visitor.sign_in("ih_no").status for _ in range(10)] == [401] * 10
        refused = visitor.sign_in(key)
    assert (refused.status, "wait a minute" in refused.text.lower()) == (429, True)


def test_signing_out_ends_the_session_at_once(viewer: Visitor) -> None:
    session = dict(viewer.cookies)
    assert viewer.post("/logout", {"csrf": viewer.token()}).headers["location"] == "/login"
    assert "inhouse_session" not in viewer.cookies
    viewer.cookies = session
    assert viewer.get("/settings").status == 303


def test_a_revoked_key_ends_its_sessions(guarded: Guarded) -> None:
    key_id, key = make_key(guarded.app, Role.VIEWER, "leaver")
    visitor = Visitor(guarded.server.url)
    visitor.sign_in(key)
    assert visitor.get("/settings").status == 200
    with guarded.app.database.write() as unit:
        revoke(unit, key_id, guarded.app.clock.now())
    until(lambda: visitor.get("/settings").status == 303)


@pytest.mark.parametrize("onward", ["//evil.example", "/\\evil.example", "https://evil.example"])
def test_signing_in_leads_nowhere_else(guarded: Guarded, onward: str) -> None:
    visitor = Visitor(guarded.server.url)
    fields = {"key": guarded.keys["viewer"], "next": onward, "csrf": visitor.token("/login")}
    assert visitor.post("/login", fields).headers["location"] == "/"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "form-token"),
        ({"x_csrf_token": "0" * 64}, "form-token"),
        ({"origin": "http://evil.example"}, "foreign-origin"),
        ({"origin": "null"}, "foreign-origin"),
        ({"sec_fetch_site": "cross-site"}, "foreign-origin"),
        ({"sec_fetch_site": "same-site"}, "foreign-origin"),
    ],
)
def test_a_form_of_another_page_is_refused(
    operator: Visitor, headers: dict[str, str], code: str
) -> None:
    fields = {} if code == "form-token" else {"csrf": operator.token()}
    answer = operator.post("/settings/reload", fields, **headers)
    assert (answer.status, f"<code>{code}</code>" in answer.text) == (403, True)


def test_the_token_of_one_session_is_none_of_another(operator: Visitor, viewer: Visitor) -> None:
    other = viewer.get("/settings").text
    token = re.search(r'"X-CSRF-Token": "(\w+)"', other)
    assert token
    assert operator.post("/settings/reload", {"csrf": token[1]}).status == 403
    assert operator.post("/settings/reload", {"csrf": operator.token()}).status == 303


def test_every_form_of_every_page_wants_the_token(guarded: Guarded, operator: Visitor) -> None:
    actions = {
        action
        for path in PAGES
        for action in re.findall(r'method="post" action="([^"]+)"', operator.get(path).text)
    }
    assert {"/logout", "/settings/reload"} <= actions
    assert {path: operator.post(path, {}).status for path in actions} == dict.fromkeys(actions, 403)


def test_who_may_not_operate_sees_no_button_and_is_refused(viewer: Visitor) -> None:
    page = viewer.get("/settings")
    assert "/settings/reload" not in page.text
    token = re.search(r'"X-CSRF-Token": "(\w+)"', page.text)
    assert token
    answer = viewer.post("/settings/reload", {"csrf": token[1]})
    assert answer.status == 403
    assert "No right" in answer.text
    assert "operator, admin" in answer.text


def test_a_session_reads_the_api_and_changes_nothing_there(operator: Visitor) -> None:
    for path in ("/v1/settings", "/v1/settings/values", "/v1/upstreams", "/v1/tasks"):
        assert operator.get(path).status == 200, path
    answer = operator.ask("POST", "/v1/settings/reload")
    assert (answer.status, json.loads(answer.text)["code"]) == (401, "unauthenticated")


def test_the_api_takes_no_forms_and_the_pages_take_nothing_else(operator: Visitor) -> None:
    assert operator.post("/v1/settings/reload", {"a": "b"}).status == 415
    as_json = operator.ask("POST", "/settings/reload", "{}", content_type="application/json")
    assert as_json.status == 403
    assert operator.post("/settings/reload", {"a": "b"}, content_type="text/plain").status == 415


def test_a_form_over_the_limit_is_refused(operator: Visitor) -> None:
    assert operator.post("/settings/reload", {"a": "b" * 11 * 1024 * 1024}).status == 413


def test_without_keys_this_machine_needs_none(local: ServerHandle) -> None:
    visitor = Visitor(local.url)
    page = visitor.get("/settings")
    assert (page.status, "no keys yet" in page.text) == (200, True)
    assert visitor.get("/login").headers["location"] == "/"
    fields = {"csrf": visitor.token()}
    own, foreign = f"http://{visitor.place}", "http://evil.example"
    assert visitor.post("/settings/reload", fields, origin=own).status == 303
    assert visitor.post("/settings/reload", fields, origin=foreign).status == 403
    assert visitor.post("/settings/reload", {}, origin=own).status == 403


def test_without_keys_no_other_name_leads_here(local: ServerHandle) -> None:
    answer = Visitor(local.url).get("/settings", host="evil.example")
    assert (answer.status, "foreign" in answer.text) == (403, True)


@pytest.mark.parametrize(("accept", "kind"), [(HTML, "text/html"), ("*/*", "application/problem")])
def test_errors_speak_the_language_of_who_asks(local: ServerHandle, accept: str, kind: str) -> None:
    answer = Visitor(local.url).get("/nowhere", accept=accept)
    assert (answer.status, answer.headers["content-type"].startswith(kind)) == (404, True)
    api = Visitor(local.url).get("/v1/nowhere")
    assert api.headers["content-type"] == "application/problem+json"


def test_what_nobody_foresaw_is_a_page_without_details(tmp_path: Path) -> None:
    app = open_app(tmp_path)
    with serve_in_thread(app) as server:
        with app.database.write() as unit:
            unit.execute(text("DROP TABLE training_event"))
            unit.execute(text("DROP TABLE training_run"))
        answer = Visitor(server.url).get("/training")
    assert answer.status == 500
    assert "something went wrong inside the server" in answer.text.lower()
    assert "training_run" not in answer.text


def test_static_files_are_kept_for_good_and_named_by_content(guarded: Guarded) -> None:
    visitor = Visitor(guarded.server.url)
    page = visitor.get("/login").text
    paths = set(re.findall(r'(?:href|src)="(/static/[^"#]+)', page))
    assert {path.rpartition("/")[2] for path in paths} >= {"app.css", "app.js", "htmx.min.js"}
    for path in paths:
        answer = visitor.get(path)
        assert (answer.status, "immutable" in answer.headers["cache-control"]) == (200, True)
        assert visitor.get(path, if_none_match=answer.headers["etag"]).status == 304
    icon = visitor.get("/favicon.ico")
    assert (icon.status, icon.headers["location"] in paths) == (307, True)
    assert visitor.get("/static/000000000000/app.css").status == 404
    assert visitor.get("/static/..%2f..%2f/shell.py").status == 404
