"""The cost that own models saved, on the overview in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.core.ids import new_id
from inhouse.interactions.record import InteractionRecord, insert
from inhouse.settings import load_settings
from inhouse.testing.pages import assert_clean, watch

pytestmark = pytest.mark.chromium
PATIENCE_MS = 30_000
FILE = """
[upstreams.up]
base_url = "http://127.0.0.1:9/v1"

[tasks.mood]
builtin = "sentiment"
kind = "choice"
chain = ["up/large"]

[tasks.tone]
builtin = "sentiment"
kind = "choice"
chain = ["up/unpriced"]
"""


def record(app: App, task: str, count: int, **values: Any) -> None:
    fields = {
        "created_at": app.clock.now(),
        "status": "answered",
        "input": "x",
        "latency_ms": 3.0,
        "task": task,
        "task_revision": app.catalog.get(task).revision,
        "arm": "incumbent",
        **values,
    }
    with app.database.write() as unit:
        insert(unit, [InteractionRecord(id=new_id(), **fields) for _ in range(count)])


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "inhouse.toml").write_text(FILE, encoding="utf-8")
    made = bootstrap(load_settings(tmp_path, {}))
    record(made, "mood", 4, reference="up/large", hosting="external", cost=0.25)
    record(made, "mood", 40, reference="mood@1", hosting="own")
    record(made, "tone", 8, reference="tone@1", hosting="own")
    return made


@pytest.fixture
def context(chromium: Browser, app: App) -> Iterator[BrowserContext]:
    with serve_in_thread(app) as server:
        made = chromium.new_context(base_url=server.url, viewport={"width": 1280, "height": 900})
        made.set_default_timeout(PATIENCE_MS)
        yield made
        made.close()


def test_the_overview_shows_what_own_models_saved(context: BrowserContext) -> None:
    page = context.new_page()
    watched = watch(page)
    page.goto("/")
    expect(page.get_by_label("Key figures")).to_contain_text(
        "own models saved 10.00, known of 1 of 2 tasks"
    )
    table = page.locator("section", has=page.get_by_role("heading", name="Cost saved"))
    mood = table.get_by_role("row", name="mood")
    expect(mood).to_contain_text("up/large")
    expect(mood).to_contain_text("as recorded")
    expect(mood.get_by_role("cell", name="10.00")).to_have_count(2)
    tone = table.get_by_role("row", name="tone")
    expect(tone).to_contain_text("its price is not known")
    expect(tone.get_by_role("cell", name="–")).to_have_count(3)
    assert_clean(page, watched)


def test_without_an_own_answer_nothing_is_said_of_savings(
    chromium: Browser, tmp_path: Path
) -> None:
    (tmp_path / "inhouse.toml").write_text(FILE, encoding="utf-8")
    app = bootstrap(load_settings(tmp_path, {}))
    record(app, "mood", 4, reference="up/large", hosting="external", cost=0.25)
    with serve_in_thread(app) as server:
        page = chromium.new_page(base_url=server.url)
        page.goto("/")
        expect(page.get_by_label("Key figures")).to_contain_text("1.00")
        expect(page.get_by_text("saved")).to_have_count(0)
        page.close()
