"""The frame of the pages in a browser: signing in, the keyboard, themes, what is live."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.client.errors import ApiError
from inhouse.client.sync import Client
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
limits = {{ requests_per_minute = 600 }}

[tasks.tone]
builtin = "sentiment"
kind = "choice"
chain = ["up/good"]

[tasks.broken]
builtin = "sentiment"
kind = "choice"
chain = ["up/missing"]
"""


class Place(NamedTuple):
    app: App
    server: ServerHandle
    folder: Path
    operator: str
    viewer: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    with ScriptedUpstream({"good": "positive"}) as upstream:
        (folder / "inhouse.toml").write_text(FILE.format(url=upstream.base_url))
        app = bootstrap(load_settings(folder, {}))
        with app.database.write() as unit:
            keys = [create(unit, r, r, app.clock.now())[1] for r in (Role.OPERATOR, Role.VIEWER)]
        with serve_in_thread(app) as server:
            yield Place(app, server, folder, *keys)


@pytest.fixture
def context(chromium: Browser, place: Place) -> Iterator[BrowserContext]:
    made = chromium.new_context(base_url=place.server.url, viewport={"width": 1280, "height": 900})
    made.set_default_timeout(PATIENCE_MS)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def sign_in(page: Page, key: str, path: str = "/settings") -> None:
    page.goto(path)
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"**{path}")


def test_signing_in_and_out(page: Page, place: Place) -> None:
    watched = watch(page)
    page.goto("/upstreams")
    field = page.get_by_label("Key", exact=True)
    expect(field).to_be_focused()
    assert_clean(page, watched)
    field.fill("ih_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The key is unknown or revoked.")).to_be_visible()
    page.get_by_label("Key", exact=True).fill(place.viewer)
    page.keyboard.press("Enter")
    page.wait_for_url("**/upstreams")
    expect(page.get_by_text("viewer, viewer")).to_be_visible()
    expect(page.get_by_role("button", name="Probe now")).to_have_count(0)
    page.get_by_role("button", name="Sign out").first.click()
    page.wait_for_url("**/login")
    page.goto("/settings")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_settings_and_errors_are_clean(page: Page, place: Place) -> None:
    watched = watch(page)
    sign_in(page, place.operator)
    assert_clean(page, watched)
    page.goto("/nowhere")
    expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()
    assert_clean(page, watched)


def test_the_keyboard_is_enough(page: Page, place: Place) -> None:
    page.goto("/upstreams")
    page.keyboard.type(place.operator)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/upstreams")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_url("**/settings")
    page.keyboard.press(".")
    expect(page.get_by_role("button", name="Check again")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("inhouse.toml was read and is valid")
    switch = page.get_by_label("Single keys act on these pages")
    page.wait_for_load_state()
    switch.focus()
    page.keyboard.press("Space")
    page.reload()
    expect(switch).not_to_be_checked()
    page.keyboard.press("g")
    page.keyboard.press("u")
    page.keyboard.press(".")
    expect(page.get_by_role("button", name="Check again")).not_to_be_focused()
    assert page.url.endswith("/settings")


def test_the_theme_is_written_by_the_server(page: Page, place: Place) -> None:
    sign_in(page, place.viewer)
    page.emulate_media(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Switch theme").locator("visible=true").click()
    dark = page.evaluate(ground)
    assert dark != light
    response = page.reload()
    assert response is not None
    assert '<html lang="en" data-theme="dark">' in response.text()
    assert page.evaluate(ground) == dark


def test_a_small_screen_reaches_every_page(page: Page, place: Place) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/login")
    expect(page.get_by_text("Inhouse", exact=True)).to_be_visible()
    sign_in(page, place.viewer)
    bar = page.get_by_role("navigation", name="Main, small screen")
    expect(bar.get_by_role("link")).to_have_count(4)
    bar.get_by_role("button", name="More").click()
    menu = page.get_by_role("dialog", name="All pages")
    expect(menu.get_by_role("link")).to_have_count(12)
    menu.get_by_role("link", name="Upstreams").click()
    page.wait_for_url("**/upstreams")


def test_names_stay_on_the_rail(page: Page, place: Place) -> None:
    page.set_viewport_size({"width": 820, "height": 900})
    sign_in(page, place.viewer)
    links = page.get_by_role("navigation", name="Main", exact=True).get_by_role("link")
    expect(links).to_have_count(13)
    page.get_by_role("link", name="Upstreams").first.click()
    page.wait_for_url("**/upstreams")


def test_a_breaker_opens_before_the_readers_eyes(page: Page, place: Place) -> None:
    watched = watch(page)
    sign_in(page, place.operator, "/upstreams")
    row = page.get_by_role("row").filter(has_text="up/missing")
    expect(row).to_contain_text("Not asked yet")
    page.locator("#probe-up").focus()
    with Client(place.server.url, key=place.operator) as client, pytest.raises(ApiError):
        client.run("broken", "Profits rose.")
    expect(row).to_contain_text("Open", timeout=PATIENCE_MS)
    expect(page).to_have_title(re.compile("1 open"))
    expect(page.locator("#probe-up")).to_be_focused()
    assert_clean(page, watched)
    page.context.set_offline(True)
    expect(page.get_by_text("The server does not answer.")).to_be_visible(timeout=PATIENCE_MS)
    page.context.set_offline(False)
    expect(page.get_by_text("The server does not answer.")).to_be_hidden(timeout=PATIENCE_MS)
    page.locator("#probe-up").focus()
    page.keyboard.press("Enter")
    said = page.locator("#probe")
    expect(said.get_by_role("row").filter(has_text="up/good")).to_contain_text("Answered")
    expect(said.get_by_role("row").filter(has_text="up/missing")).to_contain_text("Failed")
    row.get_by_role("button", name="Reset").click()
    expect(page.get_by_role("status")).to_contain_text("Breaker of up/missing closed")
    expect(row).to_contain_text("Closed")


def test_an_error_in_the_file_is_told_on_every_page(page: Page, place: Place) -> None:
    sign_in(page, place.operator)
    file = place.folder / "inhouse.toml"
    good = file.read_text()
    file.write_text(good.replace("failures = 1", "failures = 0"))
    try:
        page.get_by_role("button", name="Check again").click()
        expect(page.get_by_text(f"{file}:3: breaker.failures").first).to_be_visible()
        page.goto("/upstreams")
        expect(page.get_by_text("inhouse.toml holds an error.")).to_be_visible()
        page.get_by_role("link", name="Open settings").click()
    finally:
        file.write_text(good)
    page.get_by_role("button", name="Check again").click()
    expect(page.get_by_role("heading", name="Settings Valid")).to_be_visible()


def test_an_act_is_undone_from_its_message(page: Page, place: Place) -> None:
    watched = watch(page)
    sign_in(page, place.operator, "/automation")
    page.get_by_role("button", name="Pause background work").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("look first")
    dialog.get_by_role("button", name="Pause").click()
    message = page.get_by_role("status").filter(has_text="Background work is paused")
    message.get_by_role("button", name="Undo").focus()
    assert_clean(page, watched)
    page.keyboard.press("Enter")
    said = page.get_by_role("status").filter(has_text="Background work goes on")
    expect(said).to_be_visible()
    expect(said.get_by_role("button", name="Undo")).to_have_count(0)
    expect(page.get_by_role("button", name="Pause background work")).to_be_visible()
