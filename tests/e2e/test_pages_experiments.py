"""An experiment in a browser: what is wrong in its form, the horizon worked out, started, watched
until it ended by itself, and named by the overview."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page, expect

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.core.clock import SystemClock
from inhouse.settings import RolloutSettings, Settings, TaskSettings, UpstreamSettings
from inhouse.testing.pages import assert_clean, watch
from inhouse.testing.traffic import Traffic

pytestmark = pytest.mark.chromium
PATIENCE_MS = 30_000
AUDITED = RolloutSettings(audit=0.05, judge="up/judge")


class Place(NamedTuple):
    app: App
    server: ServerHandle

    def send(self, bad: tuple[float, float]) -> None:
        """Calls as a gateway would record them."""
        spec = self.app.catalog.get("mood")
        Traffic(self.app.database, spec, SystemClock()).send(120, bad=bad)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    mood = TaskSettings(
        kind="choice",
        labels=("good", "bad"),
        prompt="{{ input }}",
        chain=("up/big", "up/small"),
        rollout=AUDITED,
    )
    app = bootstrap(
        Settings(
            upstreams={"up": UpstreamSettings(base_url="http://127.0.0.1:9")},
            tasks={"mood": mood},
            folder=tmp_path,
        )
    )
    with serve_in_thread(app) as server:
        yield Place(app, server)


def test_an_experiment_from_its_form_to_its_end(chromium: Browser, place: Place) -> None:
    size = {"width": 1280, "height": 900}
    with chromium.new_context(base_url=place.server.url, viewport=size) as context:  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        watched = watch(page)
        page.goto("/experiments")
        page.get_by_role("link", name="Start an experiment").click()
        work_out(page, watched)
        start(page, watched)
        place.send((0.0, 0.9))
        expect(page.get_by_role("heading", level=1)).to_contain_text("Stopped")
        expect(page.locator("main")).to_contain_text("B (up/small) is far worse than up/big")
        assert_clean(page, watched)
        page.goto("/")
        named = page.locator("li", has_text="The experiment of up/big and up/small was stopped")
        named.get_by_role("link", name="Open experiment").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("up/big and up/small")


def work_out(page: Page, watched: list[str]) -> None:
    """A difference that cannot be, told beside its field; then the horizon that finds one."""
    expect(page.get_by_label("B", exact=True)).to_have_value("up/small")
    page.get_by_label("Smallest difference").fill("0.03")
    page.get_by_label("Today").fill("90")
    page.get_by_role("button", name="Work out the horizon").click()
    expect(page.get_by_label("Today")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#f-today-error")).to_have_text("Success is a rate from 0 to 1.")
    assert_clean(page, watched)
    page.get_by_label("Today").fill("0.9")
    page.get_by_role("button", name="Work out the horizon").click()
    expect(page.get_by_label("Horizon", exact=True)).to_have_value("3631")


def start(page: Page, watched: list[str]) -> None:
    page.get_by_label("Looks").fill("often")
    page.get_by_label("Reason").fill("is the small one good enough?")
    page.get_by_role("button", name="Start experiment").click()
    expect(page.locator("#f-looks-error")).to_have_text("'often' is no number.")
    expect(page.get_by_label("Reason")).to_have_value("is the small one good enough?")
    assert_clean(page, watched)
    page.get_by_label("Looks").fill("4")
    page.get_by_label("Time limit, days").fill("2")
    page.get_by_role("button", name="Start experiment").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Running")
    expect(page.locator("#experiment")).to_contain_text("The first look comes at 908 outcomes")
    expect(page.locator("#experiment")).to_contain_text("2 days after its start")
    for _ in range(2):
        with page.expect_response(lambda one: one.request.headers.get("hx-target") == "experiment"):
            pass
    expect(page.locator("#main")).not_to_be_focused()
    assert_clean(page, watched)
