"""The official ``openai`` client against a real server with a scripted upstream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.client.sync import Client
from inhouse.settings import Settings, TaskSettings, UpstreamSettings
from inhouse.testing.upstream_behaviours import reset, status
from inhouse.testing.upstream_server import ScriptedUpstream

SCRIPT = {
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
    assert answer.model == "local/good"
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


def test_streaming_is_refused_in_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="streaming is not there yet") as caught:
        client.chat.completions.create(
            model="task:sentiment", messages=[{"role": "user", "content": "x"}], stream=True
        )
    assert caught.value.param == "stream"


def test_more_than_one_message_is_refused_by_a_task(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="'system'") as caught:
        client.chat.completions.create(
            model="task:sentiment",
            messages=[{"role": "system", "content": "x"}, {"role": "user", "content": "x"}],
        )
    assert caught.value.param == "messages.0.role"
