"""From a corrected text to a version that answers, told by clicking; and every page on the way."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.core.clock import SystemClock
from inhouse.datasets.ingest import import_file
from inhouse.settings import Settings, TaskSettings, UpstreamSettings
from inhouse.store.manifest import Draft, VariantSpec
from inhouse.store.store import ModelStore
from inhouse.testing.pages import assert_clean, watch
from inhouse.testing.upstream_server import ScriptedUpstream

pytestmark = [pytest.mark.chromium, pytest.mark.models]
PATIENCE_MS = 30_000
TRAINING_MS = 180_000

MOODS = {
    "positive": ("rose", "climbed", "gained", "improved", "jumped", "doubled", "surged"),
    "negative": ("fell", "slumped", "lost", "worsened", "plunged", "halved", "shrank"),
    "neutral": ("meets", "publishes", "consists", "covers", "begins", "lists", "holds"),
}
THINGS = ["Profit of the bank", "Sales of the shop", "Demand for steel", "The value of the firm"]
SPANS = {"spans": [{"text": "Ada Byron", "label": "person"}, {"text": "Acme", "label": "firm"}]}
FACTS = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}


class Place(NamedTuple):
    app: App
    server: ServerHandle


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, weights_store: Path) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("models")
    script = {
        "good": "positive",
        "spans": json.dumps(SPANS),
        "facts": '{"title": "Market closed"}',
        "text": "In short.",
        "number": "0.5",
    }
    with ScriptedUpstream(script) as upstream:
        app = bootstrap(settings(folder, upstream.base_url))
        link_base(app.store, ModelStore(weights_store, SystemClock()).resolve("minilm-l6").path)
        import_file(app.database, app.catalog.get("mood"), labelled(folder), clock=app.clock)
        with serve_in_thread(app) as server:
            yield Place(app, server)


def settings(folder: Path, url: str) -> Settings:
    labels = tuple(MOODS)
    prompt = "{{ input }}"
    tasks = {
        "mood": TaskSettings(kind="choice", labels=labels, prompt=prompt, chain=("up/good",)),
        "names": TaskSettings(
            kind="spans", labels=("person", "firm"), prompt=prompt, chain=("up/spans",)
        ),
        "facts": TaskSettings(kind="json", schema=FACTS, prompt=prompt, chain=("up/facts",)),
        "short": TaskSettings(kind="text", prompt=prompt, chain=("up/text",)),
        "tone": TaskSettings(builtin="sentiment", kind="score", chain=("up/number",)),
        "lost": TaskSettings(kind="text", prompt=prompt, chain=("up/missing",)),
    }
    return Settings(
        upstreams={"up": UpstreamSettings(base_url=url)}, tasks=tasks, folder=folder, breaker={}
    )


def link_base(store: ModelStore, files: Path) -> None:
    """Put the encoder into a store of the test's own, by hard links."""
    with store.stage("minilm-l6") as staging:
        for path in files.rglob("*"):
            target = staging.path / path.relative_to(files)
            if path.is_dir() or path.name.startswith("manifest."):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
        spec = VariantSpec(
            id="safetensors-fp32", format="safetensors", dtype="fp32", files=("model.safetensors",)
        )
        made = store.publish(staging, Draft(kind="base", license="Apache-2.0", variants=(spec,)))
    store.set_ref("minilm-l6", "current", made.version, actor="test", reason="")


def labelled(folder: Path) -> Path:
    """Sentences with moods, one in ten of them wrong, so that there are errors to look at."""
    rng, rows = random.Random(5), []
    for mood, verbs in MOODS.items():
        for verb in verbs:
            for thing in THINGS:
                said = rng.choice(list(MOODS)) if rng.random() < 0.1 else mood
                rows.append({"text": f"{thing} {verb} on {rng.randint(1, 28)} May.", "label": said})
    path = folder / "labelled.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture
def context(chromium: Browser, place: Place) -> Iterator[BrowserContext]:
    made = chromium.new_context(base_url=place.server.url, viewport={"width": 1280, "height": 900})
    made.set_default_timeout(PATIENCE_MS)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def try_task(page: Page, task: str, text: str) -> None:
    page.goto(f"/tasks/{task}")
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Ask", exact=True).click()


def test_a_task_of_every_kind_is_tried(page: Page, place: Place) -> None:
    answer = page.locator("#answer")
    try_task(page, "names", "Ada Byron left Acme.")
    expect(answer.locator(".entity")).to_have_text(["Ada Byronperson", "Acmefirm"])
    assert_clean(page, watch(page))
    try_task(page, "facts", "The market is closed.")
    expect(answer.get_by_label("Answer")).to_have_text('{\n  "title": "Market closed"\n}')
    try_task(page, "short", "A long story.")
    expect(answer).to_contain_text("In short.")
    try_task(page, "tone", "Fine.")
    expect(answer.locator(".figure")).to_contain_text("0.50")
    try_task(page, "lost", "Anybody?")
    expect(answer).to_contain_text("no-backend")


def test_a_call_can_be_copied_and_found_again(page: Page, place: Place) -> None:
    try_task(page, "mood", "It's fine.")
    answer = page.locator("#answer")
    expect(answer.locator(".figure")).to_have_text("positive")
    expect(answer).to_contain_text("up/good")
    expect(answer).to_contain_text("incumbent")
    answer.get_by_text("The same call as curl").click()
    command = answer.locator("#as-curl")
    expect(command).to_contain_text(f"curl {place.server.url}/v1/tasks/mood/run")
    link = answer.get_by_role("link", name=re.compile("[0-9a-f-]{36}"))
    interaction = link.get_attribute("href") or ""
    place.app.recorder.flush()
    page.goto(interaction)
    expect(page.locator("main")).to_contain_text("It's fine.")


def test_from_examples_to_a_version_that_answers(page: Page, place: Place) -> None:
    watched = watch(page)
    build_a_snapshot(page)
    assert_clean(page, watched)
    train_and_watch(page)
    assert_clean(page, watched)
    look_at_the_version(page)
    assert_clean(page, watched)
    look_at_its_evaluation(page)
    assert_clean(page, watched)
    give_it_the_traffic(page)
    take_it_back(page)
    assert not watched


def build_a_snapshot(page: Page) -> None:
    page.goto("/datasets")
    page.get_by_role("button", name="Build snapshot").first.click()
    page.get_by_label("Task", exact=True).select_option("mood")
    page.get_by_role("dialog").get_by_role("button", name="Build snapshot").click()
    expect(page.get_by_role("status")).to_contain_text("built")
    page.get_by_label("Label", exact=True).select_option("neutral")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#examples tbody tr").first).to_contain_text("neutral")


def train_and_watch(page: Page) -> None:
    page.get_by_role("button", name="Train from it").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Settings", exact=True).click()
    dialog.get_by_label("folds", exact=True).first.fill("2")
    dialog.get_by_role("button", name="Start training").click()
    live = page.locator("#live")
    expect(live).to_contain_text("encoder-head.v1")
    page.evaluate("window.sameDocument = true")
    expect(live).to_contain_text("Succeeded", timeout=TRAINING_MS)
    expect(live.get_by_role("log")).to_contain_text("succeeded")
    expect(live).to_contain_text("its evaluation", timeout=TRAINING_MS)
    assert page.evaluate("window.sameDocument"), "the page was loaded again"
    expect(live).to_contain_text("folds 2")


def look_at_the_version(page: Page) -> None:
    page.locator("#live").get_by_role("link", name="mood@1").click()
    expect(page.get_by_role("heading", name="Where it came from")).to_be_visible()
    expect(page.locator(".lineage li")).to_have_count(6)
    expect(page.locator(".matrix tbody tr")).to_have_count(3)
    expect(page.locator("main")).to_contain_text("encoder.onnx")


def look_at_its_evaluation(page: Page) -> None:
    page.locator(".lineage").get_by_role("link", name=re.compile("pass|fail|inconcl")).click()
    expect(page.get_by_role("heading", name="Paired comparisons")).to_be_visible()
    expect(page.get_by_role("heading", name="Worst errors")).to_be_visible()
    figures = page.get_by_role("region", name="Figures of the models")
    assert figures.evaluate("element => element.scrollWidth <= element.clientWidth")
    page.get_by_role("link", name="up/good").click()
    expect(page.locator("#mistakes")).to_contain_text("answers of up/good")


def give_it_the_traffic(page: Page) -> None:
    page.goto("/tasks/mood")
    page.get_by_role("button", name="Change weight").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Candidate").select_option("mood@1")
    dialog.get_by_label("Share of the units, per cent").fill("100")
    dialog.get_by_role("button", name="Change weight").click()
    expect(dialog).to_be_visible()
    dialog.get_by_label("Reason").fill("it is better")
    dialog.get_by_role("button", name="Change weight").click()
    expect(page.get_by_role("status")).to_contain_text("mood@1 answers every call")
    expect(page.locator("main")).to_contain_text("it is better")

    try_task(page, "mood", "Profit of the bank surged.")
    expect(page.locator("#answer")).to_contain_text("candidate")
    expect(page.locator("#answer").get_by_text("mood@1")).to_be_visible()
    page.goto("/versions/mood/1")
    expect(page.locator("main")).to_contain_text("Answers 100 % of mood’s units")
    expect(page.get_by_role("button", name="Archive")).to_be_disabled()


def take_it_back(page: Page) -> None:
    page.goto("/tasks/mood")
    page.get_by_role("button", name="Roll back").first.click()
    page.get_by_role("dialog").get_by_label("Reason").fill("only a test")
    page.get_by_role("button", name="Roll back now").click()
    expect(page.get_by_role("status")).to_contain_text("up/good answers every call")
    page.goto("/versions/mood/1")
    expect(page.locator("main")).to_contain_text("100 % → 0 %")
    expect(page.locator("main")).to_contain_text("only a test")


def test_lists_are_clean(page: Page, place: Place) -> None:
    watched = watch(page)
    for path in ("/tasks", "/datasets", "/training", "/versions", "/evaluations"):
        page.goto(path)
        assert_clean(page, watched)
