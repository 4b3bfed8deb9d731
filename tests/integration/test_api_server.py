"""The hot routes and the server itself, over real sockets."""

from __future__ import annotations

import gc
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from inhouse.api.serve import ServerHandle, serve, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.client.errors import ApiError
from inhouse.client.sync import Client
from inhouse.core.errors import Invalid
from inhouse.core.ids import new_id
from inhouse.gateway.keys import Role, create
from inhouse.interactions.search import get, search
from inhouse.settings import Settings, TaskSettings, UpstreamSettings
from inhouse.testing.upstream_behaviours import answer, hang, status
from inhouse.testing.upstream_server import ScriptedUpstream


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What ``condition`` gives once it is true; fails when that takes longer."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    script = {
        "good": "positive",
        "slow": answer("neutral", delay_s=0.5),
        "hangs": hang(),
        "down": status(500),
    }
    with ScriptedUpstream(script) as server:
        yield server


@pytest.fixture
def app(upstream: ScriptedUpstream, tmp_path: Path) -> App:
    settings = Settings(
        upstreams={"local": UpstreamSettings(base_url=upstream.base_url)},
        tasks={
            "sentiment": TaskSettings(builtin="sentiment", kind="choice", chain=("local/good",)),
            "patient": TaskSettings(builtin="sentiment", kind="choice", chain=("local/hangs",)),
            "broken": TaskSettings(builtin="sentiment", kind="choice", chain=("local/down",)),
            "flagged": TaskSettings(
                builtin="sentiment",
                kind="choice",
                chain=("local/down",),
                on_failure={"value": "neutral"},
            ),
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


def make_key(app: App, role: Role) -> str:
    with app.database.write() as unit:
        _, key = create(unit, f"the {role}", role, app.clock.now())
    app.keys.refresh()
    return key


def post(
    server: ServerHandle, path: str, body: bytes, method: str = "POST", **headers: str
) -> tuple[int, dict[str, str], dict[str, Any]]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    named = {"content-type": "application/json"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    response = connection.getresponse()
    content = json.loads(response.read())
    connection.close()
    return response.status, {k.lower(): v for k, v in response.getheaders()}, content


def test_a_task_is_run_recorded_and_corrected(app: App, client: Client) -> None:
    answer = client.run(
        "sentiment", "Profits rose.", unit="doc-1", subject="jane", tags={"desk": "energy"}
    )
    assert answer.output == {"label": "positive"}
    assert (answer.task, answer.model_version, answer.arm) == (
        "sentiment",
        "local/good",
        "incumbent",
    )
    assert (answer.flagged, answer.cost) == (False, 0.0)
    assert answer.latency_ms > 0
    said = client.feedback(answer.interaction_id, "correction", "negative", author="ada")
    assert said.value == {"label": "negative"}
    app.recorder.flush()
    (found,) = client.interactions(task="sentiment", status="answered").items
    assert (found.id, found.tags, found.output) == (
        answer.interaction_id,
        {"desk": "energy"},
        {"label": "positive"},
    )
    assert found.subject not in (None, "jane")
    assert found.unit not in (None, "doc-1")


def test_a_caller_may_name_the_model(client: Client) -> None:
    pinned = client.run("sentiment", "x", model="local/slow")
    assert (pinned.output, pinned.arm) == ({"label": "neutral"}, "pinned")


def test_a_flagged_answer_says_so(client: Client) -> None:
    answer = client.run("flagged", "x")
    assert (answer.output, answer.flagged, answer.model_version) == (
        {"label": "neutral"},
        True,
        "",
    )


def test_headers_and_body_agree(server: ServerHandle) -> None:
    code, headers, body = post(server, "/v1/tasks/sentiment/run", b'{"input":"x"}')
    assert code == 200
    assert headers["x-inhouse-interaction-id"] == body["interaction_id"]
    assert headers["x-inhouse-model-version"] == body["model_version"]
    assert headers["x-inhouse-arm"] == body["arm"]


@pytest.mark.parametrize(
    ("path", "body", "status_code", "code"),
    [
        ("/v1/tasks/sentiment/run", b"{", 400, "not-json"),
        ("/v1/tasks/sentiment/run", b'{"input": NaN}', 400, "not-json"),
        ("/v1/tasks/sentiment/run", b'{"input": "\\ud800"}', 400, "not-json"),
        ("/v1/tasks/sentiment/run", b'{"text": "x"}', 422, "unknown-field"),
        ("/v1/tasks/sentiment/run", b"{}", 422, "missing-field"),
        ("/v1/tasks/sentiment/run", b'{"input":"x","model":"y"}', 422, "reference"),
        ("/v1/tasks/nothing/run", b'{"input":"x"}', 404, "task-not-found"),
        ("/v1/tasks/broken/run", b'{"input":"x"}', 503, "no-backend"),
        ("/v1/tasks/a/b/run", b'{"input":"x"}', 404, "no-such-path"),
        ("/v1/tasks//run", b'{"input":"x"}', 404, "no-such-path"),
        ("/v1/feedback", b'{"interaction_id":"x","kind":"rating","value":1}', 422, "invalid-field"),
        ("/nothing", b"{}", 404, "no-such-path"),
    ],
)
def test_errors_are_problems(
    server: ServerHandle, path: str, body: bytes, status_code: int, code: str
) -> None:
    found, headers, problem = post(server, path, body)
    assert (found, problem["code"], problem["status"]) == (status_code, code, status_code)
    assert headers["content-type"] == "application/problem+json"
    assert problem["detail"]
    assert ("retry-after" in headers) is (status_code == 503)


def test_a_hot_route_takes_post_only(server: ServerHandle) -> None:
    found, _, problem = post(server, "/v1/feedback", b"", method="GET")
    assert (found, problem["code"]) == (405, "method-not-allowed")


def test_a_body_that_is_too_large_is_refused(server: ServerHandle) -> None:
    body = b'{"input":"' + b"x" * (10 * 1024 * 1024) + b'"}'
    found, _, problem = post(server, "/v1/tasks/sentiment/run", body)
    assert (found, problem["code"]) == (413, "body-too-large")


def test_a_body_that_is_not_declared_as_json_is_refused(server: ServerHandle) -> None:
    found, _, problem = post(
        server, "/v1/tasks/sentiment/run", b'{"input":"x"}', content_type="text/plain"
    )
    assert (found, problem["code"]) == (415, "not-json")


def test_an_unforeseen_error_is_a_problem_without_details(
    server: ServerHandle, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    with app.database.write() as unit:
        unit.exec_driver_sql("ALTER TABLE feedback RENAME TO hidden")
    said = {"interaction_id": new_id(), "kind": "comment", "value": "secret words"}
    found, _, problem = post(server, "/v1/feedback", json.dumps(said).encode())
    with app.database.write() as unit:
        unit.exec_driver_sql("ALTER TABLE hidden RENAME TO feedback")
    assert (found, problem["code"]) == (500, "internal")
    logged = caplog.text + str([vars(line) for line in caplog.records])
    assert "no such table" in logged
    assert "secret" not in json.dumps(problem) + logged


def test_the_same_idempotency_key_is_one_call(
    server: ServerHandle, client: Client, upstream: ScriptedUpstream
) -> None:
    first = client.run("sentiment", "Profits rose.", idempotency_key="k1")
    again = client.run("sentiment", "Profits rose.", idempotency_key="k1")
    assert again == first
    assert upstream.hits["good"] == 1
    with pytest.raises(ApiError) as caught:
        client.run("sentiment", "Profits fell.", idempotency_key="k1")
    assert (caught.value.status, caught.value.code) == (409, "idempotency-mismatch")
    code, headers, body = post(
        server, "/v1/tasks/sentiment/run", b'{"input":"Profits rose."}', idempotency_key="k1"
    )
    assert code == 200
    assert headers["x-inhouse-interaction-id"] == body["interaction_id"] == first.interaction_id


def test_the_same_feedback_key_is_one_statement(client: Client) -> None:
    interaction = new_id()
    first = client.feedback(interaction, "rating", 0.5, idempotency_key="f1")
    again = client.feedback(interaction, "rating", 0.5, idempotency_key="f1")
    assert again == first
    with pytest.raises(ApiError) as caught:
        client.feedback(interaction, "rating", 0.9, idempotency_key="f1")
    assert (caught.value.status, caught.value.code) == (409, "idempotency-mismatch")


def test_who_hangs_up_takes_the_call_along(
    server: ServerHandle, app: App, upstream: ScriptedUpstream
) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    body = b'{"input":"x"}'
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(
            b"POST /v1/tasks/patient/run HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        upstream.wait_until(lambda: upstream.hits["hangs"] == 1)
    upstream.wait_until(lambda: upstream.open_connections == 0)

    def recorded() -> Any:
        with app.database.read() as unit:
            return search(unit, task="patient")

    (found,) = until(recorded)
    assert found.status == "cancelled"


def test_with_a_key_everybody_needs_one(server: ServerHandle, app: App) -> None:
    key = make_key(app, Role.APPLICATION)
    with Client(server.url) as stranger, pytest.raises(ApiError) as caught:
        stranger.run("sentiment", "x")
    assert (caught.value.status, caught.value.code) == (401, "unauthenticated")
    with Client(server.url, key=key) as application:
        answer = application.run("sentiment", "x")
        application.feedback(answer.interaction_id, "rating", 1)
        with pytest.raises(ApiError) as caught:
            application.interactions()
        assert (caught.value.status, caught.value.code) == (403, "role")
    app.recorder.flush()
    with app.database.read() as unit:
        assert get(unit, answer.interaction_id).key_id is not None


def test_a_page_of_another_site_is_refused(server: ServerHandle) -> None:
    found, _, problem = post(
        server, "/v1/tasks/sentiment/run", b'{"input":"x"}', origin="http://evil.example"
    )
    assert (found, problem["code"]) == (403, "foreign-origin")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_open_server_stays_on_this_machine(app: App, host: str) -> None:
    with pytest.raises(Invalid) as caught:
        serve_in_thread(app, host=host)
    assert (caught.value.code, caught.value.exit_code) == ("open-bind", 2)
    assert "inhouse keys create" in caught.value.hint


def test_with_a_key_any_address_can_be_bound(app: App) -> None:
    key = make_key(app, Role.APPLICATION)
    with serve_in_thread(app, host="0.0.0.0") as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        with Client(url, key=key) as client:
            assert client.run("sentiment", "x").output == {"label": "positive"}


def test_a_port_in_use_is_a_clear_error(app: App) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Invalid, match=f"cannot listen on 127.0.0.1 port {port}") as caught:
            serve_in_thread(app, port=port)
    assert (caught.value.code, caught.value.exit_code) == ("bind", 2)


def test_a_host_that_does_not_exist_is_a_clear_error(app: App) -> None:
    with pytest.raises(Invalid, match="cannot listen") as caught:
        serve_in_thread(app, host="no-such-host.invalid")
    assert caught.value.code == "bind"


def test_stopping_lets_a_call_finish_and_keeps_it(app: App, upstream: ScriptedUpstream) -> None:
    server = serve_in_thread(app)
    answers: list[Any] = []

    def call() -> None:
        with Client(server.url) as client:
            answers.append(client.run("sentiment", "x", model="local/slow"))

    caller = threading.Thread(target=call)
    caller.start()
    upstream.wait_until(lambda: upstream.hits["slow"] == 1)
    server.stop()
    caller.join()
    with app.database.read() as unit:
        assert get(unit, answers[0].interaction_id).output == {"label": "neutral"}
    with Client(server.url) as client, pytest.raises(ApiError) as caught:
        client.run("sentiment", "x")
    assert (caught.value.status, caught.value.code) == (0, "unreachable")


def test_a_kept_connection_that_was_closed_is_opened_again(app: App) -> None:
    with serve_in_thread(app) as first, Client(first.url) as client:
        client.run("sentiment", "x")
        port = int(first.url.rpartition(":")[2])
        first.stop()
        with serve_in_thread(bootstrap(app.settings), port=port):
            assert client.run("sentiment", "x").output == {"label": "positive"}


def test_what_keeps_the_app_from_starting_is_raised(app: App) -> None:
    app.recorder.start()
    with pytest.raises(RuntimeError, match="threads can only be started once"):
        serve_in_thread(app)
    app.recorder.stop()


_SERVE = """
import sys
from pathlib import Path
from inhouse.api.serve import serve
from inhouse.bootstrap import bootstrap
from inhouse.settings import Settings
serve(bootstrap(Settings(folder=Path(sys.argv[1]))), host="127.0.0.1", port=0,
      ready=lambda url: print(url, flush=True))
print("left in peace", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_peace(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    os.kill(process.pid, number)
    assert process.stdout.readline().strip() == "left in peace"
    assert process.wait(30) == 0
    process.stdout.close()


def test_serve_is_refused_before_it_binds(app: App) -> None:
    with pytest.raises(Invalid, match="no key exists"):
        serve(app, host="0.0.0.0", port=0)


def test_the_unit_of_a_chat_is_the_header_or_the_user(app: App, server: ServerHandle) -> None:
    def unit(user: str | None, **headers: str) -> str | None:
        chat = {"model": "task:sentiment", "messages": [{"role": "user", "content": "x"}]}
        body = json.dumps(chat | ({"user": user} if user else {})).encode()
        code, answered, _ = post(server, "/v1/chat/completions", body, **headers)
        assert code == 200
        app.recorder.flush()
        with app.database.read() as reading:
            return get(reading, answered["x-inhouse-interaction-id"]).unit

    assert unit("doc-1") == unit(None, x_inhouse_unit="doc-1")
    assert unit("doc-1") == unit("doc-2", x_inhouse_unit="doc-1")
    assert unit("doc-1") != unit("doc-2")
    assert unit("José") == unit(None, x_inhouse_unit="José".encode().decode("latin-1"))
    assert unit(None) != unit(None)
    chat = b'{"model":"task:sentiment","messages":[{"role":"user","content":"x"}]}'
    code, _, problem = post(server, "/v1/chat/completions", chat, x_inhouse_unit="x" * 257)
    assert (code, problem["error"]["param"]) == (422, "x-inhouse-unit")


@pytest.mark.parametrize("path", ["/v1/tasks/sentiment/run", "/v1/models"])
def test_a_request_is_freed_without_the_collector(server: ServerHandle, path: str) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({"input": "Profits rose."}) if path.endswith("run") else None
    connection = http.client.HTTPConnection(host, int(port))

    def ask() -> None:
        headers = {"content-type": "application/json"} if body else {}
        connection.request("POST" if body else "GET", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200

    ask()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            ask()
        alive = sum(type(one) is RequestResponseCycle for one in gc.get_objects())
    finally:
        gc.enable()
        connection.close()
    assert alive < 10
