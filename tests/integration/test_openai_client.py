"""The official ``openai`` client against a real server with a scripted upstream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.client.sync import Client
from inhouse.gateway.keys import Role, create
from inhouse.settings import Settings, TaskSettings, UpstreamSettings
from inhouse.testing.upstream_behaviours import completion, json_body, reset, status
from inhouse.testing.upstream_exchange import Behaviour, Exchange
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.testing.upstream_streams import stream, stream_hang, stream_then_reset

HELLO: list[Any] = [{"role": "user", "content": "Profits rose."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
LOGPROBS = {
    "content": [
        {
            "token": "yes",
            "logprob": -0.25,
            "bytes": [121, 101, 115],
            "top_logprobs": [{"token": "no", "logprob": -1.5, "bytes": None}],
        }
    ],
    "refusal": None,
}
TOKENS = ["All ", "is ", "well", "."]
CALLS: list[Any] = [
    {
        "index": 0,
        "id": "call-1",
        "type": "function",
        "function": {"name": "weather", "arguments": ""},
    },
    {"index": 0, "function": {"arguments": '{"city":'}},
    {"index": 0, "function": {"arguments": '"Oslo"}'}},
]


def with_logprobs() -> Behaviour:
    body = completion("yes", system_fingerprint="fp")
    body["choices"][0]["logprobs"] = LOGPROBS
    body["service_tier"] = "default"
    body["x_vendor"] = {"deep": [1, {"er": None}]}
    return json_body(body)


async def weather(exchange: Exchange) -> None:
    """Calls the tool first, and answers once its result is there."""
    call = {
        "id": "call-1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
    }
    told = exchange.request.messages[-1]
    body = (
        completion("It snows.")
        if told["role"] == "tool"
        else completion(None, finish_reason="tool_calls", tool_calls=[call])
    )
    await exchange.respond(200, json.dumps(body).encode())


SCRIPT: dict[str, Behaviour | str] = {
    "logprobs": with_logprobs(),
    "weather": weather,
    "tokens": stream(TOKENS),
    "calls": stream([], tool_calls=CALLS, finish_reason="tool_calls"),
    "dies": stream_then_reset(TOKENS, after=2),
    "stalls": stream_hang(TOKENS, after=2),
    "good": "positive",
    "waffles": "I would rather not say",
    "busy": status(429, "slow down", retry_after=2),
    "down": status(500),
    "picky": status(400, "temperature is out of range"),
    "rude": reset(),
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(SCRIPT) as server:
        yield server


@pytest.fixture(scope="module")
def url(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(
        upstreams={"local": UpstreamSettings(base_url=upstream.base_url)},
        tasks={
            "sentiment": TaskSettings(builtin="sentiment", kind="choice", chain=("local/good",)),
            "broken": TaskSettings(builtin="sentiment", kind="choice", chain=("local/down",)),
        },
        folder=Path(tmp_path_factory.mktemp("project")),
    )
    with serve_in_thread(bootstrap(settings)) as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, model: str, text: str = "Profits rose.") -> object:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])


def test_a_task_answers_as_json(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="task:sentiment", messages=[{"role": "user", "content": "Profits rose."}]
    )
    assert answer.choices[0].message.content is not None
    assert json.loads(answer.choices[0].message.content) == {"label": "positive"}
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "local/good"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 3)
    assert answer.usage.total_tokens == 10


def test_every_answer_says_who_gave_it(client: openai.OpenAI, url: str) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="task:sentiment",
        messages=[{"role": "user", "content": "Profits rose."}],
        metadata={"desk": "energy"},
    )
    assert raw.headers["x-inhouse-model-version"] == "local/good"
    assert raw.headers["x-inhouse-arm"] == "incumbent"
    with Client(url) as sdk:
        page = sdk.interactions(task="sentiment", limit=1000)
        for _ in range(200):
            found = [i for i in page.items if i.id == raw.headers["x-inhouse-interaction-id"]]
            if found:
                break
            page = sdk.interactions(task="sentiment", limit=1000)
    assert found[0].tags == {"desk": "energy"}
    assert found[0].output == {"label": "positive"}


def test_a_model_of_an_upstream_is_passed_through(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="local/good",
        messages=[
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Profits rose."},
        ],
        temperature=0.5,
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "positive"
    assert answer.model == "good"
    assert raw.headers["x-inhouse-model-version"] == "local/good"
    assert raw.headers["x-inhouse-arm"] == "pinned"
    sent = upstream.requests[-1].body
    assert sent["model"] == "good"
    assert sent["temperature"] == 0.5
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["task:broken", "task:sentiment", "local/down", "local/good"]


@pytest.mark.parametrize(
    ("model", "error", "code"),
    [
        ("task:nothing", openai.NotFoundError, "task-not-found"),
        ("nowhere/good", openai.NotFoundError, "upstream-not-found"),
        ("sentiment@7", openai.NotFoundError, "version-not-found"),
        ("gpt", openai.UnprocessableEntityError, "reference"),
        ("local/picky", openai.BadRequestError, "upstream-status"),
        ("local/down", openai.InternalServerError, "upstream-status"),
        ("local/rude", openai.InternalServerError, None),
        ("task:broken", openai.InternalServerError, "no-backend"),
    ],
)
def test_errors_arrive_as_the_clients_own(
    client: openai.OpenAI, model: str, error: type[openai.APIStatusError], code: str | None
) -> None:
    with pytest.raises(error) as caught:
        ask(client, model)
    assert caught.value.body["message"]  # type: ignore[index,call-overload]
    if code is not None:
        assert caught.value.code == code


def test_a_failed_call_names_its_interaction(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "task:broken")
    assert caught.value.response.headers["x-inhouse-interaction-id"]
    assert caught.value.response.headers["retry-after"] == "1"
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "task:nothing")
    assert "x-inhouse-interaction-id" not in caught.value.response.headers


def test_a_rate_limit_says_when_to_come_back(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.with_options(timeout=30).chat.completions.create(
            model="local/busy", messages=[{"role": "user", "content": "x"}]
        )
    assert caught.value.response.headers["retry-after"] == "2"


def test_more_than_one_message_is_refused_by_a_task(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="'system'") as caught:
        client.chat.completions.create(
            model="task:sentiment",
            messages=[{"role": "system", "content": "x"}, {"role": "user", "content": "x"}],
        )
    assert caught.value.param == "messages.0.role"


def test_what_shapes_an_answer_is_passed_on_untouched(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    shape: Any = {
        "type": "json_schema",
        "json_schema": {"name": "mood", "strict": True, "schema": {"type": "object"}},
    }
    client.chat.completions.create(
        model="local/good",
        messages=HELLO,
        response_format=shape,
        seed=7,
        stop=["\n"],
        logit_bias={"50256": -100},
        extra_body={"top_k": 3, "chat_template_kwargs": {"thinking": False}},
    )
    sent = upstream.requests[-1].body
    assert sent["response_format"] == shape
    assert (sent["seed"], sent["stop"], sent["logit_bias"]) == (7, ["\n"], {"50256": -100})
    assert (sent["top_k"], sent["chat_template_kwargs"]) == (3, {"thinking": False})
    assert "stream" not in sent


def test_what_an_upstream_adds_arrives_untouched(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    answer = client.chat.completions.create(
        model="local/logprobs", messages=HELLO, logprobs=True, top_logprobs=1
    )
    assert (upstream.requests[-1].body["logprobs"], upstream.requests[-1].body["top_logprobs"]) == (
        True,
        1,
    )
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.model_dump(exclude_unset=True) == LOGPROBS
    assert answer.model_extra is not None
    assert answer.model_extra["x_vendor"] == {"deep": [1, {"er": None}]}
    assert answer.service_tier == "default"


def test_a_tool_is_called_and_its_result_told(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    first = client.chat.completions.create(model="local/weather", messages=HELLO, tools=[WEATHER])
    assert first.choices[0].finish_reason == "tool_calls"
    message = first.choices[0].message
    assert message.content is None
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Oslo"}
    told: Any = [
        *HELLO,
        message.model_dump(exclude_unset=True),
        {"role": "tool", "tool_call_id": call.id, "content": "snow"},
    ]
    second = client.chat.completions.create(
        model="local/weather", messages=told, tools=[WEATHER], tool_choice="auto"
    )
    assert second.choices[0].message.content == "It snows."
    sent = upstream.requests[-1].body
    assert sent["tools"] == [WEATHER]
    assert sent["tool_choice"] == "auto"
    assert sent["messages"][1]["tool_calls"][0]["id"] == "call-1"
    assert sent["messages"][2] == told[2]


def test_the_asynchronous_client_asks_many_at_once(url: str) -> None:
    async def scenario() -> None:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:

            async def one(number: int) -> str | None:
                model = "task:sentiment" if number % 2 else "local/good"
                answer = await client.chat.completions.create(model=model, messages=HELLO)
                return answer.choices[0].message.content

            answers = await asyncio.gather(*(one(number) for number in range(20)))
            assert answers == ["positive", '{"label":"positive"}'] * 10
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(model="task:nothing", messages=HELLO)
            pieces = [
                piece
                async for piece in await client.chat.completions.create(
                    model="local/tokens", messages=HELLO, stream=True
                )
            ]
            assert said(pieces) == "".join(TOKENS)

    asyncio.run(scenario())


def test_a_wrong_key_is_an_authentication_error(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    app = bootstrap(
        Settings(upstreams={"local": UpstreamSettings(base_url=upstream.base_url)}, folder=tmp_path)
    )
    with app.database.write() as unit:
        _, key = create(unit, "app", Role.APPLICATION, app.clock.now())
    with (
        serve_in_thread(app) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client,
    ):
        assert ask(client, "local/good")
        wrong = client.with_options(api_key="ih_wrong")
        for call in (wrong.models.list, lambda: ask(wrong, "local/good")):
            with pytest.raises(openai.AuthenticationError) as caught:
                call()
            assert caught.value.code == "unauthenticated"


def said(pieces: list[Any]) -> str:
    return "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)


def test_a_stream_is_iterated(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    with client.chat.completions.create(
        model="local/tokens", messages=HELLO, stream=True
    ) as streamed:
        assert streamed.response.headers["x-inhouse-model-version"] == "local/tokens"
        assert streamed.response.headers["x-inhouse-interaction-id"]
        pieces = list(streamed)
    assert said(pieces) == "".join(TOKENS)
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert {piece.model for piece in pieces} == {"tokens"}
    assert all(piece.usage is None for piece in pieces)
    assert upstream.requests[-1].streams


def test_a_stream_tells_its_usage_when_asked(client: openai.OpenAI) -> None:
    pieces = list(
        client.chat.completions.create(
            model="local/tokens",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert pieces[-1].choices == []
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens == len(TOKENS)
    assert said(pieces) == "".join(TOKENS)


def test_a_task_streams_its_answer(client: openai.OpenAI) -> None:
    pieces = list(
        client.chat.completions.create(
            model="task:sentiment",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert json.loads(said(pieces)) == {"label": "positive"}
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.total_tokens == 10


def test_tool_calls_arrive_in_pieces(client: openai.OpenAI) -> None:
    arguments, names = "", []
    finish = None
    for piece in client.chat.completions.create(
        model="local/calls", messages=HELLO, tools=[WEATHER], stream=True
    ):
        finish = piece.choices[0].finish_reason or finish
        for call in piece.choices[0].delta.tool_calls or []:
            assert call.function is not None
            names += [call.function.name] if call.function.name else []
            arguments += call.function.arguments or ""
    assert (names, json.loads(arguments), finish) == (["weather"], {"city": "Oslo"}, "tool_calls")


def test_the_clients_own_accumulator_reads_a_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="local/tokens", messages=HELLO) as events:
        final = events.get_final_completion()
    assert final.choices[0].message.content == "".join(TOKENS)


def test_a_stream_that_dies_raises_after_what_was_said(client: openai.OpenAI) -> None:
    pieces: list[Any] = []

    def read() -> None:
        for piece in client.chat.completions.create(
            model="local/dies", messages=HELLO, stream=True
        ):
            pieces.append(piece)  # noqa: PERF402 what came before the error counts

    with pytest.raises(openai.APIError) as caught:
        read()
    assert said(pieces) == "".join(TOKENS[:2])
    assert caught.value.message
    assert caught.value.code


def test_an_error_before_the_first_token_is_a_status(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="local/busy", messages=HELLO, stream=True)
    assert caught.value.response.headers["retry-after"] == "2"


def test_a_stream_that_is_closed_early_is_closed_upstream(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    streamed = client.chat.completions.create(model="local/stalls", messages=HELLO, stream=True)
    while not said([next(streamed)]):
        pass
    peer = upstream.open_connections
    streamed.close()
    upstream.wait_until(lambda: upstream.open_connections < peer)
