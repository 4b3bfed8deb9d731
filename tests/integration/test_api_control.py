"""The control routes over real sockets: what they show, what they change, who may."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.client.sync import Client
from inhouse.core.ids import new_id
from inhouse.gateway.keys import Role, create
from inhouse.jobs import queue
from inhouse.registry.versions import register
from inhouse.settings import ServerSettings, Settings, TaskSettings, UpstreamSettings
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.training import runs

NOWHERE = "01a1fc81-377b-7e39-ae5c-ea490c74ea49"
"""An id that nothing has."""

TYPO = {"candidate": "locl/tpyo", "reason": "x"}
"""To send traffic to a model of an upstream that is not declared."""

OPEN = {"/healthz", "/readyz"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream({"good": "positive", "other": "negative"}) as server:
        yield server


@pytest.fixture
def app(upstream: ScriptedUpstream, tmp_path: Path) -> App:
    """Without a worker: jobs stay in the queue."""
    settings = Settings(
        server=ServerSettings(workers=0),
        upstreams={"local": UpstreamSettings(base_url=upstream.base_url)},
        tasks={
            "sentiment": TaskSettings(builtin="sentiment", kind="choice", chain=("local/good",))
        },
        folder=tmp_path,
    )
    return bootstrap(settings)


@pytest.fixture
def server(app: App) -> Iterator[ServerHandle]:
    with serve_in_thread(app) as handle:
        yield handle


@pytest.fixture
def client(server: ServerHandle) -> Iterator[Client]:
    with Client(server.url) as made:
        yield made


def ask(
    server: ServerHandle, method: str, path: str, value: Any = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    body = None
    if value is not None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        named.setdefault("content-type", "application/json")
    connection.request(method, path, body, named)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, response.headers, content


def get(server: ServerHandle, path: str) -> Any:
    status, _, content = ask(server, "GET", path)
    assert status == 200, content
    return json.loads(content)


def post(server: ServerHandle, path: str, value: Any) -> tuple[int, Any]:
    status, _, content = ask(server, "POST", path, value)
    return status, json.loads(content)


def add_version(app: App) -> str:
    with app.database.write() as unit:
        version = register(
            unit,
            task="sentiment",
            task_revision=app.catalog.get("sentiment").revision,
            artifact="sentiment",
            store_version="1",
            manifest_digest="sha256:" + "0" * 64,
            recipe="encoder-head.v1",
            run_id=None,
            snapshot_id=None,
            at=app.clock.now(),
        )
    return version.reference


def correct(client: Client, texts: int) -> None:
    for number in range(texts):
        answer = client.run("sentiment", f"Sentence {number} of many, all about {number * 7}.")
        client.feedback(answer.interaction_id, "correction", ["negative", "positive"][number % 2])


def test_tasks(server: ServerHandle) -> None:
    (task,) = get(server, "/v1/tasks")
    assert (task["name"], task["kind"]) == ("sentiment", "choice")
    assert task["words"] == ["negative", "neutral", "positive"]
    assert task["chain"] == ["local/good"]
    detail = get(server, "/v1/tasks/sentiment")
    assert detail["prompt"]
    assert detail["revision"] == task["revision"]


def test_interactions_page_by_page(app: App, server: ServerHandle, client: Client) -> None:
    ids = [client.run("sentiment", f"text {number}").interaction_id for number in range(5)]
    app.recorder.flush()
    first = client.interactions(limit=2)
    second = client.interactions(limit=2, before=first.next)
    third = client.interactions(limit=2, before=second.next)
    assert [one.id for page in (first, second, third) for one in page.items] == ids[::-1]
    assert third.next is None
    assert get(server, "/v1/interactions?status=failed")["items"] == []
    assert get(server, "/v1/interactions?reference=local%2Fgood&arm=incumbent&limit=3")["next"]
    assert get(server, "/v1/interactions?since=2999-01-01T00:00:00Z")["items"] == []


def test_one_interaction_with_its_feedback(app: App, server: ServerHandle, client: Client) -> None:
    answer = client.run("sentiment", "text")
    client.feedback(answer.interaction_id, "correction", "negative", author="ada")
    app.recorder.flush()
    found = get(server, f"/v1/interactions/{answer.interaction_id}")
    assert found["input"] == "text"
    assert [attempt["reference"] for attempt in found["attempts"]] == ["local/good"]
    (said,) = found["feedback"]
    assert (said["kind"], said["value"], said["author"]) == (
        "correction",
        {"label": "negative"},
        "ada",
    )


def test_datasets_training_and_jobs(app: App, server: ServerHandle, client: Client) -> None:
    status, problem = post(server, "/v1/datasets", {"task": "sentiment"})
    assert (status, problem["code"]) == (422, "no-examples")
    correct(client, 12)
    app.recorder.flush()
    status, dataset = post(server, "/v1/datasets", {"task": "sentiment"})
    assert status == 200
    assert sum(dataset["counts"][split] for split in ("train", "valid", "test")) == 12
    assert get(server, "/v1/datasets?task=sentiment") == [dataset]
    assert get(server, f"/v1/datasets/{dataset['id']}") == dataset

    status, run = post(server, "/v1/training/runs", {"task": "sentiment"})
    assert status == 200, run
    assert (run["status"], run["snapshot_id"], run["actor"]) == ("queued", dataset["id"], "local")
    assert get(server, "/v1/training/runs?status=queued") == [run]
    assert get(server, f"/v1/training/runs/{run['id']}") == run
    (job,) = get(server, "/v1/jobs?status=queued&name=training.run")
    assert job["arguments"] == {"run_id": run["id"]}

    status, cancelled = post(server, f"/v1/training/runs/{run['id']}/cancel", None)
    assert (status, cancelled["status"]) == (200, "cancelled")
    assert get(server, f"/v1/jobs/{job['id']}")["status"] == "cancelled"
    status, problem = post(server, f"/v1/training/runs/{run['id']}/cancel", None)
    assert (status, problem["status"]) == (409, 409)
    events = get(server, f"/v1/training/runs/{run['id']}/events")
    assert [event["data"]["status"] for event in events] == ["queued", "cancelled"]
    later = get(server, f"/v1/training/runs/{run['id']}/events?since=1")
    assert [event["sequence"] for event in later] == [2]


def make_run(app: App) -> str:
    run_id, at = new_id(), app.clock.now()
    with app.database.write() as unit:
        job = queue.enqueue(unit, "none", {}, at=at)
        runs.create(
            unit,
            run_id=run_id,
            job_id=job.id,
            task="sentiment",
            task_revision="r",
            recipe="encoder-head.v1",
            settings={},
            snapshot_id=new_id(),
            snapshot_hash="0" * 64,
            actor="test",
            at=at,
        )
    return run_id


class Stream:
    """A connection that reads server-sent events."""

    def __init__(self, server: ServerHandle, run_id: str, **headers: str) -> None:
        named = {"accept": "text/event-stream"}
        named |= {name.replace("_", "-"): text for name, text in headers.items()}
        self.connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
        self.connection.request("GET", f"/v1/training/runs/{run_id}/events", headers=named)
        self.response = self.connection.getresponse()

    def event(self) -> dict[str, str]:
        """The next event; none at the end of the stream."""
        found: dict[str, str] = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            found[name] = value
        return found


def test_events_arrive_as_they_happen(app: App, server: ServerHandle) -> None:
    run_id = make_run(app)
    stream = Stream(server, run_id)
    assert stream.response.headers["content-type"].startswith("text/event-stream")
    first = stream.event()
    assert (first["id"], first["event"]) == ("1", "status")
    assert json.loads(first["data"])["data"] == {"status": "queued"}
    with app.database.write() as unit:
        runs.start(unit, run_id, at=app.clock.now())
        runs.append(unit, run_id, runs.PROGRESS, {"done": 1, "total": 2}, at=app.clock.now())
    assert stream.event()["id"] == "2"
    assert json.loads(stream.event()["data"])["data"] == {"done": 1, "total": 2}
    with app.database.write() as unit:
        runs.fail(unit, run_id, "no room", at=app.clock.now())
    assert json.loads(stream.event()["data"])["data"]["error"] == "no room"
    assert stream.event() == {}
    stream.connection.close()

    assert Stream(server, run_id, last_event_id="3").event()["id"] == "4"
    assert Stream(server, run_id, last_event_id="4").response.status == 204


def test_a_stream_ends_when_the_server_stops(app: App) -> None:
    server = serve_in_thread(app)
    stream = Stream(server, make_run(app))
    assert stream.event()["id"] == "1"
    server.stop()
    assert stream.event() == {}


def test_versions_and_routes(app: App, server: ServerHandle, client: Client) -> None:
    reference = add_version(app)
    (version,) = get(server, "/v1/versions?task=sentiment")
    assert (version["reference"], version["status"]) == ("sentiment@1", "candidate")
    (route,) = get(server, "/v1/routes")
    assert (route["revision"], route["incumbent"], route["candidate"]) == (0, "local/good", None)

    status, moved = post(
        server,
        "/v1/routes/sentiment",
        {"candidate": reference, "weight": 12.5, "reason": "try it", "expect_revision": 0},
    )
    assert (status, moved["weight_bp"], moved["revision"]) == (200, 1250, 1)
    assert (moved["candidate"], moved["actor"], moved["reason"]) == (reference, "local", "try it")
    stale = {"weight": 50, "reason": "more", "expect_revision": 0}
    status, problem = post(server, "/v1/routes/sentiment", stale)
    assert (status, problem["code"]) == (409, "route-changed")

    status, back = post(server, "/v1/routes/sentiment/rollback", {"reason": "bad"})
    assert (status, back["weight_bp"], back["revision"]) == (200, 0, 2)
    history = get(server, "/v1/routes/sentiment/history")
    assert [(one["revision"], one["reason"]) for one in history] == [(2, "bad"), (1, "try it")]
    status, problem = post(server, "/v1/routes/sentiment/rollback", {"reason": "again"})
    assert (status, problem["code"]) == (409, "nothing-to-roll-back")


def test_a_moved_route_holds_from_the_next_call_on(server: ServerHandle, client: Client) -> None:
    assert client.run("sentiment", "x").output == {"label": "positive"}
    moved = {"candidate": "local/other", "weight": 100, "reason": "test"}
    assert post(server, "/v1/routes/sentiment", moved)[0] == 200
    answer = client.run("sentiment", "x")
    assert (answer.output, answer.arm) == ({"label": "negative"}, "candidate")


def test_evaluations_and_independence(app: App, server: ServerHandle, client: Client) -> None:
    assert get(server, "/v1/evaluations?task=sentiment&limit=10") == []
    assert get(server, "/v1/independence")["score"] is None
    client.run("sentiment", "x")
    app.recorder.flush()
    found = get(server, "/v1/independence?days=3")
    assert (found["days"], found["score"]) == (3, 20.0)
    assert [task["task"] for task in found["tasks"]] == ["sentiment"]


@pytest.mark.parametrize(
    ("method", "path", "value", "status", "code"),
    [
        ("GET", "/v1/tasks/nothing", None, 404, "task-not-found"),
        ("GET", "/v1/tasks/UPPER", None, 422, "invalid-field"),
        ("GET", f"/v1/interactions/{NOWHERE}", None, 404, "interaction-not-found"),
        ("GET", "/v1/interactions/1", None, 422, "invalid-field"),
        ("GET", "/v1/interactions?limit=0", None, 422, "invalid-field"),
        ("GET", "/v1/interactions?since=2026-01-01T00:00:00", None, 422, "invalid-field"),
        ("GET", "/v1/interactions?reference=%00", None, 422, "invalid-field"),
        ("GET", f"/v1/evaluations/{NOWHERE}", None, 404, "evaluation-not-found"),
        ("GET", f"/v1/jobs/{NOWHERE}", None, 404, "job-not-found"),
        ("GET", f"/v1/training/runs/{NOWHERE}", None, 404, "run-not-found"),
        ("GET", f"/v1/training/runs/{NOWHERE}/events", None, 404, "run-not-found"),
        ("GET", f"/v1/datasets/{NOWHERE}", None, 404, "snapshot-not-found"),
        ("POST", "/v1/training/runs", {"task": "sentiment"}, 404, "snapshot-not-found"),
        ("POST", "/v1/datasets", {"task": "sentiment", "x": 1}, 422, "unknown-field"),
        ("POST", "/v1/datasets", {}, 422, "missing-field"),
        ("POST", "/v1/datasets", b"{", 400, "not-json"),
        ("POST", "/v1/routes/sentiment", b'{"weight": NaN, "reason": "x"}', 400, "not-json"),
        ("POST", "/v1/routes/sentiment", {"weight": 101, "reason": "x"}, 422, "invalid-field"),
        ("POST", "/v1/routes/sentiment", {"weight": 1, "reason": "x"}, 422, "weight"),
        ("POST", "/v1/routes/sentiment", {"weight": 1, "reason": ""}, 422, "invalid-field"),
        ("POST", "/v1/routes/sentiment", TYPO | {"weight": 100}, 422, "reference"),
        ("POST", "/v1/rollouts", TYPO | {"task": "sentiment"}, 422, "reference"),
        (
            "POST",
            "/v1/experiments",
            {"task": "sentiment", "a": "local/a", "b": "locl/b", "horizon": 400, "reason": "x"},
            422,
            "reference",
        ),
        ("POST", "/v1/tasks", {}, 405, "method-not-allowed"),
        ("GET", "/v1/tasks/", None, 404, "no-such-path"),
    ],
)
def test_errors_are_problems(
    server: ServerHandle, method: str, path: str, value: Any, status: int, code: str
) -> None:
    found, headers, content = ask(server, method, path, value)
    problem = json.loads(content)
    assert (found, problem["code"]) == (status, code)
    assert headers["content-type"] == "application/problem+json"


def test_health_and_metrics(app: App, server: ServerHandle, client: Client) -> None:
    assert get(server, "/healthz") == {"status": "ok"}
    assert get(server, "/readyz") == {"status": "ok"}
    client.run("sentiment", "x")
    _, headers, content = ask(server, "GET", "/metrics")
    assert headers["content-type"].startswith("text/plain")
    assert b'inhouse_calls_total{arm="incumbent",status="answered",task="sentiment"}' in content
    assert b"inhouse_independence_score " in content
    app.recorder.stop()
    status, headers, content = ask(server, "GET", "/readyz")
    assert (status, json.loads(content)["code"]) == (503, "record-failed")
    assert headers["retry-after"] == "1"


def routes_of(server: ServerHandle) -> list[tuple[str, str]]:
    document = get(server, "/openapi.json")
    return [(method, path) for path, item in document["paths"].items() for method in item]


def test_one_document_describes_both_halves(server: ServerHandle) -> None:
    document = get(server, "/openapi.json")
    assert {"/v1/tasks/{task}/run", "/v1/feedback", "/v1/chat/completions", "/v1/routes"} <= set(
        document["paths"]
    )
    text = json.dumps(document)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(document["components"]["schemas"])
    run = document["components"]["schemas"]["RunRequest"]
    assert run["required"] == ["input"]
    assert get(server, "/openapi.json") == document


def test_with_a_key_nothing_but_health_is_open(app: App, server: ServerHandle) -> None:
    found = routes_of(server)
    with app.database.write() as unit:
        create(unit, "k", Role.ADMIN, app.clock.now())
    app.keys.refresh()
    for method, path in found:
        filled = path.replace("{task}", "sentiment")
        for name in ("interaction_id", "snapshot_id", "evaluation_id", "run_id", "job_id"):
            filled = filled.replace("{" + name + "}", new_id())
        body = {"task": "sentiment", "weight": 1, "reason": "x"} if method == "post" else None
        status, _, _ = ask(server, method.upper(), filled, body)
        assert status == (200 if path in OPEN else 401), path


def test_roles(app: App, server: ServerHandle) -> None:
    keys = {}
    with app.database.write() as unit:
        for role in Role:
            keys[role] = create(unit, f"the {role}", role, app.clock.now())[1]
    app.keys.refresh()
    change = {"candidate": "local/other", "weight": 1, "reason": "x"}
    expected = {
        Role.APPLICATION: (200, 403, 403),
        Role.VIEWER: (200, 200, 403),
        Role.REVIEWER: (200, 200, 403),
        Role.OPERATOR: (200, 200, 200),
        Role.ADMIN: (200, 200, 200),
    }
    for role, key in keys.items():
        bearer = f"Bearer {key}"
        found = (
            ask(server, "GET", "/v1/models", authorization=bearer)[0],
            ask(server, "GET", "/v1/interactions", authorization=bearer)[0],
            ask(server, "POST", "/v1/routes/sentiment", change, authorization=bearer)[0],
        )
        assert found == expected[role], role
    (newest, *_) = json.loads(
        ask(
            server,
            "GET",
            "/v1/routes/sentiment/history",
            authorization=f"Bearer {keys[Role.VIEWER]}",
        )[2]
    )
    assert newest["actor"] == "the admin"
