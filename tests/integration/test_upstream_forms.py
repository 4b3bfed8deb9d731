"""Tasks with a schema, asked of upstreams that take it, half of it, or nothing; over sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError, Unavailable
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.gateway.entry import Call
from inhouse.gateway.table import RouteTable
from inhouse.inference.base import Message, Question, Reply
from inhouse.inference.upstream import JSON_MAX_TOKENS, SPANS_MAX_TOKENS, UpstreamBackend
from inhouse.inference.upstream_form import is_refusal
from inhouse.interactions.record import Recorder
from inhouse.interactions.search import search
from inhouse.settings import Settings, UpstreamSettings
from inhouse.tasks.catalog import load_catalog
from inhouse.tasks.outputs import response_schema
from inhouse.tasks.prompts import render
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.contracts.backend import SENTIMENT
from inhouse.testing.gateway import wire_gateway
from inhouse.testing.upstream_behaviours import completion, in_turn, json_body, status
from inhouse.testing.upstream_exchange import Behaviour
from inhouse.testing.upstream_forms import structured
from inhouse.testing.upstream_server import ScriptedUpstream

TEXT = "Ada met Charles."
PEOPLE = {"spans": [{"text": "Ada", "label": "PERSON"}, {"text": "Charles", "label": "PERSON"}]}
SPANS = TaskSpec(
    name="people",
    kind=TaskKind.SPANS,
    description="",
    labels=("PERSON",),
    prompt="Who? {{ input }}",
)
VERDICT = {"verdict": "ok", "score": 0.5}
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string"}, "score": {"type": "number"}},
    "required": ["verdict", "score"],
    "additionalProperties": False,
}
JSON = TaskSpec(
    name="judge", kind=TaskKind.JSON, description="", schema=SCHEMA, prompt="Judge. {{ input }}"
)


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream({}) as server:
        yield server


def question(spec: TaskSpec, **options: Any) -> Question:
    asked = (Message("user", render(spec, TEXT)),)
    return Question(task=spec, text=TEXT, messages=asked, options=options)


def ask(
    upstream: ScriptedUpstream, behaviour: Behaviour | str, *questions: Question
) -> list[Reply | BackendError]:
    """The questions one after another, to one backend."""
    upstream.script = {"m": behaviour}
    settings = UpstreamSettings(base_url=upstream.base_url)

    async def main() -> list[Any]:
        backend = UpstreamBackend("u/m", settings=settings, model="m")
        replies: list[Any] = []
        try:
            for one in questions:
                try:
                    replies.append(await asyncio.wait_for(backend.answer(one), 30))
                except BackendError as error:
                    replies.append(error)
        finally:
            await backend.close()
        return replies

    return asyncio.run(main())


def forms(upstream: ScriptedUpstream) -> list[str | None]:
    """The forms asked for, in order."""
    return [(one.body.get("response_format") or {}).get("type") for one in upstream.requests]


@pytest.mark.parametrize(
    ("spec", "value", "room"), [(SPANS, PEOPLE, SPANS_MAX_TOKENS), (JSON, VERDICT, JSON_MAX_TOKENS)]
)
def test_the_schema_goes_with_the_question(
    upstream: ScriptedUpstream, spec: TaskSpec, value: Any, room: int
) -> None:
    (reply,) = ask(upstream, structured(value, needs="json_schema"), question(spec))
    assert isinstance(reply, Reply)
    (request,) = upstream.requests
    told = request.body["response_format"]["json_schema"]
    assert told == {"name": spec.name, "schema": response_schema(spec), "strict": True}
    assert jsonschema_rs.is_valid(told["schema"], value)
    assert (request.body["temperature"], request.body["max_tokens"]) == (0, room)
    assert request.messages == [{"role": "user", "content": render(spec, TEXT)}]


def test_a_schema_with_optional_fields_is_not_called_strict(upstream: ScriptedUpstream) -> None:
    schema = {**SCHEMA, "required": ["verdict"]}
    spec = TaskSpec(name="j", kind=TaskKind.JSON, description="", schema=schema, prompt="x")
    ask(upstream, structured(VERDICT, needs="json_schema"), question(spec))
    assert upstream.requests[0].body["response_format"]["json_schema"]["strict"] is False


@pytest.mark.parametrize("code", [400, 404, 422])
def test_one_that_knows_json_only_is_told_the_schema_in_words(
    upstream: ScriptedUpstream, code: int
) -> None:
    behaviour = structured(VERDICT, takes=["json_object"], needs="json_object", code=code)
    replies = ask(upstream, behaviour, question(JSON), question(JSON))
    assert all(isinstance(reply, Reply) for reply in replies)
    assert forms(upstream) == ["json_schema", "json_object", "json_object"]
    said = upstream.requests[-1].messages[-1]["content"]
    assert said.startswith(render(JSON, TEXT))
    assert '"verdict"' in said


def test_a_models_name_says_nothing_of_its_forms() -> None:
    def refusal(said: str) -> BackendError:
        message = f"up/json-mode-7b answered 400: {said}"
        return BackendError(message, code="upstream-status", upstream_status=400)

    for said, refuses in (
        ("maximum context length exceeded", False),
        ("json-mode-7b takes 4096 tokens", False),
        ("json-mode-7b takes no json mode", True),
        ("response_format: unknown", True),
    ):
        assert is_refusal(refusal(said), "up/json-mode-7b") is refuses


def test_one_that_knows_no_form_is_asked_in_words(upstream: ScriptedUpstream) -> None:
    replies = ask(upstream, structured(PEOPLE, takes=[]), question(SPANS), question(SPANS))
    assert all(isinstance(reply, Reply) for reply in replies)
    assert forms(upstream) == ["json_schema", "json_object", None, None]
    assert "PERSON" in upstream.requests[-1].messages[-1]["content"]


def test_what_is_refused_for_one_schema_is_tried_for_another(upstream: ScriptedUpstream) -> None:
    refusal = status(400, "Invalid schema for response_format")
    behaviour = in_turn(refusal, structured(VERDICT), structured(PEOPLE))
    ask(upstream, behaviour, question(JSON), question(SPANS))
    assert forms(upstream) == ["json_schema", "json_object", "json_schema"]


def test_a_field_named_beside_the_message_counts(upstream: ScriptedUpstream) -> None:
    error = {"message": "Unsupported value", "param": "response_format"}
    behaviour = in_turn(json_body({"error": error}, 400), structured(VERDICT))
    (reply,) = ask(upstream, behaviour, question(JSON))
    assert isinstance(reply, Reply)
    assert forms(upstream) == ["json_schema", "json_object"]


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (status(400, "the prompt is too long"), "upstream-status"),
        (status(401, "response_format: no key"), "upstream-status"),
        (status(500, "json_schema crashed"), "upstream-status"),
    ],
)
def test_other_failures_are_not_asked_again(
    upstream: ScriptedUpstream, behaviour: Behaviour, code: str
) -> None:
    (error,) = ask(upstream, behaviour, question(JSON))
    assert isinstance(error, BackendError)
    assert error.code == code
    assert forms(upstream) == ["json_schema"]


def test_a_form_of_the_caller_is_left_alone(upstream: ScriptedUpstream) -> None:
    mine = {"type": "json_object"}
    (error,) = ask(
        upstream, structured(VERDICT, takes=[]), question(JSON, response_format=mine, max_tokens=9)
    )
    assert isinstance(error, BackendError)
    assert forms(upstream) == ["json_object"]
    assert upstream.requests[0].body["max_tokens"] == 9


def test_labels_and_chats_are_told_no_form(upstream: ScriptedUpstream) -> None:
    free = Question(messages=(Message("user", "Hello"),))
    typed = Question(task=SENTIMENT, text="x", messages=(Message("user", "x"),))
    ask(upstream, "neutral", free, typed)
    assert forms(upstream) == [None, None]


def test_an_answer_that_was_cut_is_none(upstream: ScriptedUpstream) -> None:
    behaviour = json_body(completion('{"verdict": "ok", "sc', finish_reason="length"))
    (error,) = ask(upstream, behaviour, question(JSON))
    assert isinstance(error, BackendError)
    assert error.code == "upstream-cut"


class World:
    """A gateway with one json task and one upstream."""

    def __init__(self, database: Database, upstream: ScriptedUpstream) -> None:
        self.database = database
        settings = UpstreamSettings(base_url=upstream.base_url)
        task = {"kind": "json", "schema": SCHEMA, "prompt": JSON.prompt, "chain": ["up/m"]}
        catalog = load_catalog(
            Settings.model_validate({"tasks": {"judge": task}, "upstreams": {"up": settings}})
        )
        self.recorder = Recorder(database, clock=SystemClock())
        self.recorder.start()
        routes = RouteTable(database, catalog, warm=str)
        routes.refresh()
        self.backend = UpstreamBackend("up/m", settings=settings, model="m")
        self.gateway = wire_gateway(
            database,
            catalog=catalog,
            routes=routes,
            resolve=lambda _: self.backend,
            recorder=self.recorder,
            failures=1,
        )

    def run(self, *texts: str) -> list[Any]:
        async def main() -> list[Any]:
            try:
                calls = [Call(interaction_id=new_id(), task="judge", text=text) for text in texts]
                return [await self.gateway.run(call) for call in calls]
            finally:
                await self.backend.close()

        return asyncio.run(main())


@pytest.fixture
def world(sqlite_database: Database, upstream: ScriptedUpstream) -> Iterator[World]:
    made = World(sqlite_database, upstream)
    yield made
    made.recorder.stop()


def test_finding_out_the_form_is_no_failure(world: World, upstream: ScriptedUpstream) -> None:
    """A breaker that opens with the first failure stays closed, and each call had one try."""
    upstream.script = {"m": structured(VERDICT, takes=[])}
    outcomes = world.run("one", "two")
    assert [outcome.output for outcome in outcomes] == [VERDICT, VERDICT]
    assert forms(upstream) == ["json_schema", "json_object", None, None]
    world.recorder.flush()
    with world.database.read() as unit:
        rows = search(unit, limit=10)
    assert [row.status for row in rows] == ["answered", "answered"]
    assert [len(row.attempts or ()) for row in rows] == [1, 1]


def test_a_liar_is_asked_once_more_and_is_a_recorded_failure(
    world: World, upstream: ScriptedUpstream
) -> None:
    upstream.script = {"m": in_turn('{"verdict": ', '{"verdict": 7}', structured(VERDICT))}
    with pytest.raises(Unavailable):
        world.run("one")
    assert upstream.hits["m"] == 2
    assert forms(upstream) == ["json_schema", "json_schema"]
    assert "verdict" in upstream.requests[1].messages[-1]["content"]
    world.recorder.flush()
    with world.database.read() as unit:
        (row,) = search(unit, limit=10)
    assert (row.status, row.output) == ("failed", None)
    assert [attempt["code"] for attempt in row.attempts or ()] == ["unparsable"]
