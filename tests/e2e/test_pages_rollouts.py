"""A rollout in a browser: started from its version's page, moving as calls come, paused, resumed
and rolled back with reasons; what a viewer sees of it; and the pages around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.core.clock import SystemClock
from inhouse.gateway.keys import Role, create
from inhouse.registry import routes
from inhouse.rollout import steer
from inhouse.rollout.declared import plan_of
from inhouse.settings import RolloutSettings, Settings, TaskSettings, UpstreamSettings
from inhouse.testing.pages import assert_clean, violations, watch
from inhouse.testing.traffic import Traffic
from inhouse.testing.versions import add_version

pytestmark = pytest.mark.chromium
PATIENCE_MS = 30_000
PLAN = RolloutSettings(
    steps=(20, 50, 100), margin=0.2, first_calls=1000, dwell_s=3600, guardrails=("success",)
)


class Place(NamedTuple):
    app: App
    server: ServerHandle
    operator: str
    viewer: str

    def send(self, count: int) -> None:
        """Calls as a gateway would record them."""
        spec = self.app.catalog.get("mood")
        process = f"g{count}"
        Traffic(self.app.database, spec, SystemClock(), process=process).send(
            count, bad=(0.05, 0.05), latency_ms=(300.0, 4.0)
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    prompt = "{{ input }}"
    tasks = {
        name: TaskSettings(
            kind="choice", labels=("good", "bad"), prompt=prompt, chain=("up/big",), rollout=PLAN
        )
        for name in ("mood", "tone")
    }
    app = bootstrap(
        Settings(
            upstreams={"up": UpstreamSettings(base_url="http://127.0.0.1:9")},
            tasks=tasks,
            folder=tmp_path,
        )
    )
    with app.database.write() as unit:
        keys = [create(unit, r, r, app.clock.now())[1] for r in (Role.OPERATOR, Role.VIEWER)]
        add_version(unit, app.catalog.get("mood"), app.clock.now(), recipe="encoder.v1")
    with serve_in_thread(app) as server:
        yield Place(app, server, *keys)


def enter(chromium: Browser, place: Place, key: str, path: str) -> BrowserContext:
    context = chromium.new_context(
        base_url=place.server.url, viewport={"width": 1280, "height": 900}
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(path)
    page.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{path}")
    return context


def test_a_rollout_from_its_start_to_its_end(chromium: Browser, place: Place) -> None:
    with enter(chromium, place, place.operator, "/versions/mood/1") as context:
        page = context.pages[0]
        watched = watch(page)
        start(page, watched)
        watch_it_move(page, place)
        pause_by_keyboard(page)
        look_as_a_viewer(chromium, place, page.url)
        resume_and_roll_back(page)
        assert_clean(page, watched)
        look_around(page, watched)


EVERY_STEP_IS_NAMED = """() => {
  const strip = document.querySelector(".steps.ramp").cloneNode(true);
  document.querySelector("#live").append(strip);
  const named = [...strip.children].every((step) => {
    [...strip.children].forEach((one) => { one.className = one === step ? "now" : ""; });
    return getComputedStyle(step).fontSize !== "0px";
  });
  strip.remove();
  return named;
}"""
"""Whether a small screen names the step that a rollout is at, whichever it is."""


def start(page: Page, watched: list[str]) -> None:
    page.get_by_role("link", name="Start rollout").click()
    expect(page.get_by_label("Candidate", exact=True)).to_have_value("mood@1")
    expect(page.get_by_label("Steps, per cent")).to_have_value("20, 50, 100")
    assert_clean(page, watched)
    page.get_by_label("Margin").fill("much")
    page.get_by_label("Reason").fill("passed its gate")
    page.get_by_role("button", name="Start rollout").click()
    expect(page.locator("main")).to_contain_text("'much' is no number")
    expect(page.get_by_label("Reason")).to_have_value("passed its gate")
    page.get_by_label("Margin").fill("0.1")
    page.get_by_role("button", name="Start rollout").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("mood@1 takes over from up/big")
    expect(page).to_have_title("20 % mood@1 · Inhouse")
    expect(page.locator("#live")).to_contain_text("Margin")
    expect(page.locator("#live")).to_contain_text("0.100 of calls at full weight")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate(EVERY_STEP_IS_NAMED)
    page.set_viewport_size({"width": 1280, "height": 900})


def watch_it_move(page: Page, place: Place) -> None:
    """The figures follow the calls; the page stays the one that was opened, and what was opened in
    it stays open."""
    page.evaluate("window.sameDocument = true")
    live = page.locator("#live")
    expect(live).to_contain_text("Evidence appears with the first outcome")
    live.locator("summary").first.click()
    place.send(60)
    expect(live.get_by_role("img", name="The average is")).to_be_visible()
    expect(live).to_contain_text("without a verdict")
    expect(live.locator(".tile").nth(2)).to_contain_text("60")
    place.send(40)
    expect(live.locator(".tile").nth(2)).to_contain_text("100")
    expect(live.locator("details").first).to_have_attribute("open", "")
    expect(live.locator("tr", has_text="up/big")).to_contain_text("80 %")
    assert page.evaluate("window.sameDocument"), "the page was loaded again"


def pause_by_keyboard(page: Page) -> None:
    """No mouse: the page's actions, the dialog that keeps the focus, Escape, the reason."""
    page.locator("#main").focus()
    page.keyboard.press(".")
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator("#head").get_by_role("button", name="Pause")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    assert not violations(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(dialog.get_by_role("button", name="Pause")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("labels are late")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Paused")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Paused")
    expect(page.locator(".decisions li").first).to_contain_text(
        "Paused at 20 % by operator: “labels are late”"
    )


def look_as_a_viewer(chromium: Browser, place: Place, url: str) -> None:
    path = url.removeprefix(place.server.url)
    with enter(chromium, place, place.viewer, path) as context:
        page = context.pages[0]
        watched = watch(page)
        for name in ("Resume", "Roll back"):
            button = page.locator("#head").get_by_role("button", name=name)
            expect(button).to_be_disabled()
            expect(button).to_have_attribute("title", "This needs the role operator")
        expect(page.locator("#head")).to_contain_text("An operator acts here; you are viewer.")
        assert_clean(page, watched)
        page.goto("/versions/mood/1")
        expect(page.get_by_role("link", name="Open rollout")).to_be_visible()


def resume_and_roll_back(page: Page) -> None:
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("they are in")
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Ramping")
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("the editor said no")
    page.get_by_role("button", name="Roll back now").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("did not take over from")
    expect(page.locator("#head")).to_contain_text("The editor said no.")
    expect(page.locator(".decisions li")).to_have_count(4)
    expect(page.locator(".decisions li").first).to_contain_text("Rolled back by operator")


def look_around(page: Page, watched: list[str]) -> None:
    """The list, with an ended and a running rollout; the overview, and its kill switch."""
    page.goto("/rollouts/new?task=tone&candidate=up/big")
    expect(page.locator("main")).to_contain_text("Nothing can take over")
    page.goto("/rollouts")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="mood@1").click()
    expect(page).to_have_title("Rolled back: mood@1 · Inhouse")
    page.goto("/versions/mood/1")
    expect(page.get_by_role("button", name="Start rollout")).to_be_disabled()
    page.get_by_role("button", name="Take it back").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("once more")
    page.get_by_role("dialog").get_by_role("button", name="Take it back").click()
    page.get_by_role("link", name="Start rollout").click()
    page.get_by_label("Reason").fill("once more")
    page.get_by_role("button", name="Start rollout").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Ramping")
    page.goto("/rollouts")
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("tbody tr").first).to_contain_text("Ramping")
    assert_clean(page, watched)


def test_the_kill_switch_of_the_overview(chromium: Browser, place: Place) -> None:
    app = place.app
    with app.database.write() as unit:
        spec, plan, now = app.catalog.get("mood"), plan_of(PLAN), app.clock.now()
        steer.start(unit, spec, candidate="mood@1", plan=plan, actor="ada", reason="go", at=now)
    app.routes.refresh()
    with enter(chromium, place, place.operator, "/") as context:
        page = context.pages[0]
        watched = watch(page)
        running = page.locator("section", has_text="All rollouts")
        expect(running.get_by_role("link", name="mood@1")).to_be_visible()
        assert_clean(page, watched)
        page.get_by_role("button", name="Send all back").click()
        page.get_by_role("dialog").get_by_label("Reason").fill("stop everything")
        page.get_by_role("dialog").get_by_role("button", name="Send all back").click()
        expect(page.get_by_role("status")).to_contain_text("Back to their incumbents: mood")
        with place.app.database.read() as unit:
            route = routes.current(unit, "mood")
        assert route is not None
        assert route.weight_bp == 0
        page.goto("/rollouts")
        expect(page.locator("tbody tr").first).to_contain_text("Aborted by operator")
