"""The overview and the interactions in a browser: find a call, open it, correct it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.client.errors import ApiError
from inhouse.client.sync import Client
from inhouse.feedback.submit import list_for
from inhouse.gateway.keys import Role, create
from inhouse.settings import load_settings
from inhouse.testing.pages import assert_clean, watch
from inhouse.testing.upstream_server import ScriptedUpstream

pytestmark = pytest.mark.chromium
PATIENCE_MS = 30_000
FILE = """
[breaker]
failures = 1

[upstreams.up]
base_url = "{url}"

[tasks.mood]
kind = "choice"
labels = ["positive", "negative"]
prompt = "Say the mood of: {{{{ input }}}}"
chain = ["up/good"]

[tasks.strength]
builtin = "sentiment"
chain = ["up/missing", "up/number"]
"""


class Place(NamedTuple):
    app: App
    server: ServerHandle
    reviewer: str
    viewer: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("place")
    with ScriptedUpstream({"good": "positive", "number": "0.4"}) as upstream:
        (folder / "inhouse.toml").write_text(FILE.format(url=upstream.base_url))
        app = bootstrap(load_settings(folder, {}))
        roles = (Role.REVIEWER, Role.VIEWER)
        with app.database.write() as unit:
            reviewer, viewer = (create(unit, role, role, app.clock.now())[1] for role in roles)
        with serve_in_thread(app) as server:
            with Client(server.url, key=reviewer) as client:
                for number in range(3):
                    client.run("mood", f"Ferry number {number} is late", tags={"from": "wire"})
                client.run("strength", "Trams run again", tags={"from": "web"})
                with pytest.raises(ApiError):
                    client.run("mood", "Nobody knows this model", model="up/missing")
            app.recorder.flush()
            yield Place(app, server, reviewer, viewer)


@pytest.fixture
def context(chromium: Browser, place: Place) -> Iterator[BrowserContext]:
    made = chromium.new_context(base_url=place.server.url, viewport={"width": 1280, "height": 900})
    made.set_default_timeout(PATIENCE_MS)
    yield made
    made.close()


def sign_in(page: Page, key: str, path: str) -> None:
    page.goto(path)
    page.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{path}")


def test_from_the_overview_to_a_failed_call(context: BrowserContext, place: Place) -> None:
    page = context.new_page()
    watched = watch(page)
    sign_in(page, place.viewer, "/")
    expect(page.get_by_text("Own models gave 0.0 % of 4 answered calls")).to_be_visible()
    attention = page.locator("section", has=page.get_by_role("heading", name="Needs attention"))
    expect(attention.get_by_text("up/missing is left alone")).to_be_visible()
    assert_clean(page, watched)
    page.get_by_role("link", name="7 days").click()
    page.wait_for_url("**/?window=7d")
    page.get_by_role("row", name="mood").get_by_role("link", name="4", exact=True).click()
    page.wait_for_url("**/interactions?window=7d&task=mood")
    expect(page.get_by_text("4 calls that match in the last 7 days")).to_be_visible()
    page.get_by_role("navigation", name="Filters").get_by_role("link", name="failed").click()
    page.get_by_role("link", name="Nobody knows this model").click()
    drawer = page.get_by_role("complementary", name="Interaction")
    expect(drawer.get_by_text("Pinned to one model")).to_be_visible()
    expect(drawer.get_by_text("Correcting takes a key with role reviewer")).to_be_visible()
    assert "open=" in page.url
    assert_clean(page, watched)
    drawer.get_by_role("link", name="Whole page").click()
    expect(page.get_by_role("heading", name="mood", level=1)).to_be_visible()
    assert_clean(page, watched)


def test_a_correction_by_the_keyboard_only(context: BrowserContext, place: Place) -> None:
    page = context.new_page()
    sign_in(page, place.reviewer, "/interactions")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("ferry number 1")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Searched all 5 calls")).to_be_visible()
    page.locator("#main").focus()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="Ferry number 1 is late")).to_be_focused()
    page.keyboard.press("Enter")
    drawer = page.get_by_role("complementary", name="Interaction")
    expect(drawer.get_by_role("heading", name="mood")).to_be_focused()
    field = drawer.get_by_label("Right answer")
    for _ in range(20):
        page.keyboard.press("Tab")
        if field.evaluate("element => element === document.activeElement"):
            break
    page.keyboard.type("neg")
    page.keyboard.press("Tab")
    page.keyboard.type("late is bad")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Kept: correction and comment")
    expect(page.get_by_role("cell", name="Corrected", exact=True)).to_be_visible()
    with place.app.database.read() as unit:
        opened = page.url.partition("open=")[2].partition("&")[0]
        said = list_for(unit, opened)
    assert [(one.kind.value, one.value, one.author) for one in said] == [
        ("correction", {"label": "negative"}, "reviewer"),
        ("comment", "late is bad", "reviewer"),
    ]


def test_what_cannot_be_kept_is_said(context: BrowserContext, place: Place) -> None:
    page = context.new_page()
    sign_in(page, place.reviewer, "/interactions?tag=from%3Dweb")
    page.set_viewport_size({"width": 390, "height": 844})
    watched = watch(page)
    page.get_by_role("link", name="Trams run again").click()
    drawer = page.get_by_role("complementary", name="Interaction")
    expect(drawer.get_by_text("Fallback", exact=True)).to_be_visible()
    expect(drawer.get_by_text("up/missing failed")).to_be_visible()
    assert_clean(page, watched)
    drawer.get_by_label("Right answer").fill("very")
    drawer.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Write a number from -1 to 1")
    assert page.get_by_label("Right answer").input_value() == "very"
    page.goto("/interactions?window=7d&q=no+such+words")
    expect(page.get_by_role("heading", name="No match")).to_be_visible()
    assert_clean(page, watched)


def test_a_failed_call_stays_one_when_it_is_corrected(
    context: BrowserContext, place: Place
) -> None:
    page = context.new_page()
    sign_in(page, place.reviewer, "/interactions?status=failed")
    page.get_by_role("link", name="Nobody knows this model").click()
    drawer = page.get_by_role("complementary", name="Interaction")
    drawer.get_by_label("Right answer").select_option("negative")
    drawer.get_by_role("button", name="Save").click()
    expect(page.get_by_role("cell", name="Failed Corrected")).to_be_visible()
