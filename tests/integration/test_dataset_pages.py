"""Data cards and differences over HTTP: the routes, and the pages over the same data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.core.ids import new_id
from inhouse.settings import ServerSettings, Settings, TaskSettings, UpstreamSettings

NEWS = "The company said on Friday that its profit in the third quarter of the year was <{}>."
ROWS = [{"text": f"{n} of its own words number {n}", "label": "positive"} for n in range(60)]
ROWS += [{"text": NEWS.format("weak"), "label": "negative"}]
ROWS += [{"text": NEWS.format("strong"), "label": "positive"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHandle]:
    settings = Settings(
        server=ServerSettings(workers=0),
        upstreams={"local": UpstreamSettings(base_url="http://127.0.0.1:9/v1")},
        tasks={"mood": TaskSettings(builtin="sentiment", kind="choice", chain=("local/good",))},
        folder=tmp_path_factory.mktemp("project"),
    )
    with serve_in_thread(bootstrap(settings)) as handle:
        yield handle


@pytest.fixture(scope="module")
def client(server: ServerHandle) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def pair(client: httpx.Client) -> tuple[dict[str, Any], dict[str, Any]]:
    """A snapshot without a look at near repeats, and one with a row more."""
    _import(client, ROWS)
    first = client.post("/v1/datasets", json={"task": "mood", "near": {"method": "off"}})
    _import(client, [{"text": "quite new", "label": "neutral"}])
    second = client.post("/v1/datasets", json={"task": "mood"})
    assert (first.status_code, second.status_code) == (200, 200), second.text
    return first.json(), second.json()


def _import(client: httpx.Client, rows: list[dict[str, str]]) -> None:
    content = "\n".join(json.dumps(row) for row in rows)
    body = {"task": "mood", "format": "jsonl", "content": content}
    assert client.post("/v1/datasets/import", json=body).status_code == 200


def test_the_card_as_fields_and_as_markdown(client: httpx.Client, pair: Any) -> None:
    card = client.get(f"/v1/datasets/{pair[1]['id']}/card").json()
    assert card["content_hash"] == pair[1]["content_hash"]
    assert card["near"]["repeats"] == card["near"]["disagreeing"] == 1
    assert len(card["disagreements"]) == 1
    assert card["markdown"].startswith("# Data card: mood ")
    assert "\\<weak\\>" in card["markdown"]


def test_changes_come_page_by_page(client: httpx.Client, pair: Any) -> None:
    path = f"/v1/datasets/{pair[0]['id']}/diff/{pair[1]['id']}"
    everything = client.get(path, params={"limit": 1000}).json()
    assert everything["counts"]["added"] == 1
    assert everything["settings"]["near"] == ["off", "text"]
    assert everything["total"] == len(everything["items"]) >= 1
    found: list[Any] = []
    after: int | None = -1
    while after is not None:
        page = client.get(path, params={"limit": 1, "after": after}).json()
        found += page["items"]
        after = page["next"]
    assert found == everything["items"]
    (added,) = client.get(path, params={"what": "added"}).json()["items"]
    assert (added["before"], added["after"]["input"]) == (None, "quite new")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"near": {"method": "embedding"}}, 409, "base-missing"),
        ({"near": {"method": "fuzzy"}}, 422, "invalid-field"),
        ({"near": {"words": 0}}, 422, "invalid-field"),
    ],
)
def test_what_cannot_be_built_is_said(
    client: httpx.Client, body: dict[str, Any], status: int, code: str
) -> None:
    response = client.post("/v1/datasets", json={"task": "mood", **body})
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_snapshot_that_is_not_there(client: httpx.Client, pair: Any) -> None:
    for path in (f"{new_id()}/card", f"{pair[0]['id']}/diff/{new_id()}"):
        assert client.get(f"/v1/datasets/{path}").status_code == 404


def test_the_pages_show_card_and_changes(client: httpx.Client, pair: Any) -> None:
    first, second = pair
    shown = client.get(f"/datasets/{second['id']}")
    assert shown.status_code == 200
    assert "Data card" in shown.text
    assert "&lt;weak&gt;" in shown.text
    assert "Of 1 near repeat 1 disagree" in shown.text
    assert f'<option value="{first["id"]}">' in shown.text
    chosen = client.get(f"/datasets/{second['id']}/diff", params={"before": first["id"]})
    assert chosen.headers["location"] == f"/datasets/{first['id']}/diff/{second['id']}"
    changed = client.get(chosen.headers["location"])
    assert changed.status_code == 200
    assert "<ins>quite new</ins>" in changed.text
    assert "<del>off</del> <ins>text</ins>" in changed.text
    only = client.get(f"{chosen.headers['location']}?what=removed")
    assert "Nothing changed in this way" in only.text
    assert client.get(f"{chosen.headers['location']}?what=odd").status_code == 422
