"""Examples in and out over HTTP: an upload, a snapshot of it, and every format of that."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.core.ids import new_id
from inhouse.datasets.formats.choose import ENDINGS, MEDIA_TYPES
from inhouse.datasets.rows import read_rows
from inhouse.gateway.keys import Role, create
from inhouse.settings import ServerSettings, Settings, TaskSettings, UpstreamSettings

ROWS = "".join(f"text number {n},{('negative', 'positive')[n % 2]},d{n % 7}\n" for n in range(40))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHandle]:
    settings = Settings(
        server=ServerSettings(workers=0),
        upstreams={"local": UpstreamSettings(base_url="http://127.0.0.1:9/v1")},
        tasks={"mood": TaskSettings(builtin="sentiment", kind="choice", chain=("local/good",))},
        folder=tmp_path_factory.mktemp("project"),
    )
    app = bootstrap(settings)
    with app.database.write() as unit:
        for role in (Role.OPERATOR, Role.VIEWER):
            _KEYS[role] = create(unit, name=role.value, role=role, at=app.clock.now())[1]
    app.keys.refresh()
    with serve_in_thread(app) as handle:
        yield handle


_KEYS: dict[Role, str] = {}


def _ask(
    server: ServerHandle, method: str, path: str, body: Any = None, role: Role = Role.OPERATOR
) -> tuple[http.client.HTTPResponse, bytes]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    headers = {"authorization": f"Bearer {_KEYS[role]}", "content-type": "application/json"}
    content = None if body is None else json.dumps(body)
    connection.request(method, path, content, headers)
    response = connection.getresponse()
    found = response.read()
    connection.close()
    return response, found


@pytest.fixture(scope="module")
def snapshot(server: ServerHandle) -> dict[str, Any]:
    content = "headline,label,document\n" + ROWS + "odd,great,d1\n"
    upload = {"task": "mood", "format": "csv", "content": content}
    response, body = _ask(server, "POST", "/v1/datasets/import", upload)
    assert response.status == 422
    assert json.loads(body)["code"] == "import-columns"
    upload["columns"] = {"text": "headline"}
    response, body = _ask(server, "POST", "/v1/datasets/import", {**upload, "strict": True})
    assert json.loads(body)["code"] == "import-bad-rows"
    response, body = _ask(server, "POST", "/v1/datasets/import", upload)
    report = json.loads(body)
    assert (report["read"], report["added"], report["bad"]) == (41, 40, 1)
    assert report["named"][0]["line"] == 42
    assert "great" in report["named"][0]["reason"]
    assert json.loads(_ask(server, "POST", "/v1/datasets/import", upload)[1])["duplicate"] == 40
    response, body = _ask(server, "POST", "/v1/datasets", {"task": "mood"})
    assert response.status == 200
    found: dict[str, Any] = json.loads(body)
    return found


@pytest.mark.parametrize("name", [name for name in ENDINGS if name != "conll"])
def test_a_snapshot_is_sent_as_a_file(
    server: ServerHandle, snapshot: dict[str, Any], tmp_path: Path, name: str
) -> None:
    path = f"/v1/datasets/{snapshot['id']}/export?format={name}"
    response, body = _ask(server, "GET", path, role=Role.VIEWER)
    assert response.status == 200
    assert response.headers["content-type"] == MEDIA_TYPES[name]
    assert int(response.headers["content-length"]) == len(body)
    assert (
        f'filename="mood-{snapshot["content_hash"][:12]}.'
        in (response.headers["content-disposition"])
    )
    (tmp_path / "file").write_bytes(body)
    assert len(list(read_rows(tmp_path / "file", name, {}))) == 40


def test_one_split_is_sent(server: ServerHandle, snapshot: dict[str, Any]) -> None:
    path = f"/v1/datasets/{snapshot['id']}/export?split=train"
    response, body = _ask(server, "GET", path)
    assert response.headers["content-type"] == "application/x-ndjson"
    assert len(body.splitlines()) == snapshot["counts"]["train"] > 0


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [("format=conll", 422, "export-format"), ("format=xlsx", 422, "invalid-field")],
)
def test_what_cannot_be_sent_is_said(
    server: ServerHandle, snapshot: dict[str, Any], query: str, status: int, code: str
) -> None:
    response, body = _ask(server, "GET", f"/v1/datasets/{snapshot['id']}/export?{query}")
    assert (response.status, json.loads(body)["code"]) == (status, code)


def test_who_may(server: ServerHandle, snapshot: dict[str, Any]) -> None:
    upload = {"task": "mood", "format": "csv", "content": "text,label\n"}
    assert _ask(server, "POST", "/v1/datasets/import", upload, Role.VIEWER)[0].status == 403
    response, _ = _ask(server, "GET", f"/v1/datasets/{new_id()}/export")
    assert response.status == 404
    nobody = {**upload, "task": "nobody"}
    assert _ask(server, "POST", "/v1/datasets/import", nobody)[0].status == 404
