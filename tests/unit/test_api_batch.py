"""A batch: judged input by input, in order, so many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from inhouse.api.auth import Access, Principal
from inhouse.api.batch import AT_ONCE, Batch
from inhouse.api.body import Scope
from inhouse.api.problems import CALL, BadRequest, FieldError, TooLarge
from inhouse.client.batch import BatchResponse
from inhouse.client.models import RunRequest, RunResponse
from inhouse.core.errors import Exhausted, NotFound, Unauthenticated, Unavailable
from inhouse.db.unit import Database
from inhouse.gateway.keys import KeyRing

Answer = Callable[[RunRequest], Awaitable[None]]


def ran(task: str, request: RunRequest) -> RunResponse:
    return RunResponse(
        interaction_id=f"id of {request.input}",
        task=task,
        output={"label": request.input},
        model_version=request.model or "local/good",
        arm="incumbent",
        flagged=False,
        latency_ms=1.0,
        cost=0.0,
    )


async def at_once(_: RunRequest) -> None:
    return


@pytest.fixture
def ask(sqlite_database: Database) -> Callable[..., BatchResponse]:
    """Send a body to a batch whose calls are answered by ``answer``."""

    def send(
        body: Any, answer: Answer = at_once, *, limit: int = 10_000_000, **headers: str
    ) -> BatchResponse:
        async def run(task: str, request: RunRequest, _: Principal, scope: Scope) -> RunResponse:
            scope[CALL] = f"id of {request.input}"
            await answer(request)
            return ran(task, request)

        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": raw, "more_body": False}

        named = {"content-type": "application/json", "host": "localhost"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {
            "path": "/v1/tasks/sentiment/run-batch",
            "client": (headers.get("x_from", "127.0.0.1"), 1),
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        }
        batch = Batch(Access(KeyRing(sqlite_database)), run, limit=lambda: limit)
        response = asyncio.run(batch.run("sentiment", scope, receive))
        assert response.status == 200
        assert dict(response.headers)[b"content-length"] == b"%d" % len(response.body)
        return msgspec.json.decode(response.body, type=BatchResponse)

    return send


def test_results_come_in_the_order_of_the_inputs(ask: Callable[..., BatchResponse]) -> None:
    ended: list[str] = []
    last_began = asyncio.Event()

    async def backwards(request: RunRequest) -> None:
        if request.input == "9":
            last_began.set()
        await last_began.wait()
        for _ in range(10 - int(request.input)):
            await asyncio.sleep(0)
        ended.append(request.input)

    answer = ask({"inputs": [{"input": str(n)} for n in range(10)]}, backwards)
    assert ended != sorted(ended)
    assert [result.ok.output["label"] for result in answer.results if result.ok] == [
        str(n) for n in range(10)
    ]


def test_every_field_of_an_input_arrives(ask: Callable[..., BatchResponse]) -> None:
    asked: list[RunRequest] = []

    async def keep(request: RunRequest) -> None:
        asked.append(request)

    one = {"input": "a", "unit": "u", "subject": "s", "tags": {"k": "v"}}
    ask({"inputs": [one], "model": "local/other"}, keep)
    assert asked == [RunRequest(**one, model="local/other")]


def test_at_most_so_many_run_at_once(ask: Callable[..., BatchResponse]) -> None:
    running = most = 0

    async def count(_: RunRequest) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    answer = ask({"inputs": [{"input": "x"}] * 100}, count)
    assert most == AT_ONCE
    assert sum(result.ok is not None for result in answer.results) == 100


def test_an_input_that_fails_leaves_the_others_alone(ask: Callable[..., BatchResponse]) -> None:
    async def some_fail(request: RunRequest) -> None:
        match request.input:
            case "nowhere":
                raise NotFound("no such upstream", code="upstream-not-found")
            case "down":
                raise Unavailable("no model answered", code="no-backend", retry_after=6.2)
            case "spent":
                raise Exhausted("spent", hint="wait", retry_after=3)
            case "bug":
                raise ZeroDivisionError("secret words")

    inputs = [{"input": text} for text in ("good", "nowhere", "down", "spent", "bug")]
    good, nowhere, down, spent, bug = ask({"inputs": inputs}, some_fail).results
    assert good.ok is not None
    assert good.error is None
    assert nowhere.error is not None
    assert (nowhere.error.status, nowhere.error.code) == (404, "upstream-not-found")
    assert down.error is not None
    assert (down.error.status, down.retry_after, down.interaction_id) == (503, 7, "id of down")
    assert spent.error is not None
    assert (spent.error.status, spent.retry_after, spent.error.hint) == (429, 3, "wait")
    assert bug.error is not None
    assert (bug.error.status, bug.error.code) == (500, "internal")
    assert "secret" not in bug.error.detail


def test_an_input_that_cannot_be_asked_is_one_error(ask: Callable[..., BatchResponse]) -> None:
    inputs = [{"input": "good"}, {"input": ""}, 7, {}, {"input": "x", "model": "y"}]
    good, *bad = ask({"inputs": inputs}).results
    assert good.ok is not None
    assert [(b.error.status, b.error.code) for b in bad if b.error] == [
        (422, "invalid-field"),
        (422, "invalid-field"),
        (422, "missing-field"),
        (422, "unknown-field"),
    ]
    assert not any(result.interaction_id for result in bad)


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ({"inputs": []}, FieldError, "inputs: expected a list of length >= 1"),
        ({"inputs": [{"input": "x"}] * 1001}, FieldError, "inputs: expected a list of length <="),
        ({}, FieldError, "inputs is missing"),
        ({"inputs": "x"}, FieldError, "inputs: expected a list, got text"),
        ({"inputs": [1], "unit": "u"}, FieldError, "unit is no field"),
        (b'{"inputs": [NaN]}', BadRequest, "not JSON"),
        (b'{"inputs": [' + b"[" * 100_000, BadRequest, "nested too deeply"),
    ],
)
def test_a_batch_that_cannot_be_read_is_refused_as_a_whole(
    ask: Callable[..., BatchResponse], body: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        ask(body)


def test_a_batch_takes_no_idempotency_key(ask: Callable[..., BatchResponse]) -> None:
    with pytest.raises(BadRequest, match="no Idempotency-Key") as caught:
        ask({"inputs": [{"input": "x"}]}, idempotency_key="k")
    assert caught.value.field == "idempotency-key"


def test_a_batch_keeps_to_the_limit_and_asks_who_comes(ask: Callable[..., BatchResponse]) -> None:
    with pytest.raises(TooLarge):
        ask({"inputs": [{"input": "x" * 100}]}, limit=50)
    with pytest.raises(Unauthenticated):
        ask({"inputs": [{"input": "x"}]}, x_from="192.0.2.1")
