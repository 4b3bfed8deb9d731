"""The official ``openai`` client's decisions against a real server: tasks and free questions."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.decision import (
    AnswerAnswerResourceChoice,
    AnswerAnswerResourcePredicate,
    AnswerAnswerResourceRefusal,
    AnswerAnswerResourceScore,
    Decision,
)

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.client.sync import Client
from inhouse.core.errors import BackendError
from inhouse.core.ids import new_id
from inhouse.gateway.decide import decide
from inhouse.gateway.entry import DirectCall
from inhouse.settings import OnFailure, Settings, StoreSettings, TaskSettings, UpstreamSettings
from inhouse.testing.upstream_behaviours import completion, hang, status
from inhouse.testing.upstream_exchange import Behaviour, Exchange
from inhouse.testing.upstream_server import ScriptedUpstream

TEXT = "Profits rose."
MOODS: list[Any] = [{"value": "positive"}, {"value": "negative"}, {"value": "neutral"}]
MOOD: Any = {"type": "choice", "name": "mood", "instructions": "ignored", "choices": MOODS}
PREDICATE: Any = {"type": "predicate", "instructions": "It is good news."}
TYPED: Any = {
    "type": "choice",
    "instructions": "Which?",
    "choices": [{"value": True}, {"value": "true"}],
}
SCORE: Any = {
    "type": "score",
    "name": "how much",
    "instructions": "How good?",
    "levels": [{"label": "bad"}, {"label": "fair"}, {"label": "good"}],
}


def letters(shares: dict[str, float]) -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        top = [{"token": one, "logprob": math.log(share)} for one, share in shares.items()]
        body = completion("A", model="scripted")
        refuses = "REFUSE" in exchange.request.messages[0]["content"]
        if refuses:
            body = completion(None, refusal="No.")
        body["choices"][0]["logprobs"] = {"content": [{"token": "A", "top_logprobs": top}]}
        await exchange.respond(200, json.dumps(body).encode())

    return behave


async def native(exchange: Exchange) -> None:
    """A hosted decision model: the last option of every question is three times as likely."""
    answers: list[dict[str, Any]] = []
    for question in exchange.request.body["questions"]:
        kind, name = question["type"], question.get("name")
        options = question.get("choices") or question.get("levels") or []
        last = 3 / (len(options) + 2)
        shares = [*[last / 3] * (len(options) - 1), last]
        told = (
            [
                {"probability": share, **({"value": at} if kind == "score" else option)}
                for at, (option, share) in enumerate(zip(options, shares, strict=True))
            ]
            if options
            else []
        )
        answers.append({"type": kind, "name": name, "probability": 0.75, "probabilities": told})
    usage = {"input_tokens": 11, "output_tokens": 0}
    body = {"model": "decider", "answers": answers, "usage": usage}
    await exchange.respond(200, json.dumps(body).encode())


SCRIPT: dict[str, Behaviour | str] = {
    "good": "positive",
    "half": '{"value": 0.5}',
    "letters": letters({"A": 0.2, "B": 0.6}),
    "mute": "A",
    "down": status(500),
    "busy": status(429, "slow down"),
    "decider": native,
    "hangs": hang(),
}


def task(model: str, **more: Any) -> TaskSettings:
    return TaskSettings(builtin="sentiment", **{"kind": "choice", "chain": (model,), **more})


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(SCRIPT) as server:
        yield server


@pytest.fixture(scope="module")
def wired(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> App:
    return bootstrap(
        Settings(
            upstreams={
                "local": UpstreamSettings(base_url=upstream.base_url),
                "hosted": UpstreamSettings(base_url=upstream.base_url, speaks="decisions"),
            },
            tasks={
                "sentiment": task("local/good"),
                "soft": task("hosted/decider"),
                "rating": task("local/half", kind="score"),
                "broken": task("local/down"),
                "excused": task("local/down", on_failure=OnFailure(value="neutral")),
            },
            folder=Path(tmp_path_factory.mktemp("project")),
        )
    )


@pytest.fixture(scope="module")
def server(wired: App) -> Iterator[ServerHandle]:
    with serve_in_thread(wired) as running:
        yield running


@pytest.fixture
def client(server: ServerHandle) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as made:
        yield made


def eventually(find: Callable[[], Any]) -> Any:
    """What ``find`` gives once it is not empty; the recorder commits within milliseconds."""
    for _ in range(500):
        if found := find():
            return found
    raise AssertionError("it never came")


def recorded(server: ServerHandle, interaction_id: str) -> Any:
    with Client(server.url) as sdk:
        (found,) = eventually(
            lambda: [one for one in sdk.interactions(limit=1000).items if one.id == interaction_id]
        )
    return found


def test_a_task_that_says_its_answer(client: openai.OpenAI, server: ServerHandle) -> None:
    raw = client.decisions.with_raw_response.create(
        model="task:sentiment", input=TEXT, questions=[MOOD], safety_identifier="reader-7"
    )
    found = raw.parse()
    (answer,) = found.answers
    assert isinstance(answer, AnswerAnswerResourceChoice)
    assert (answer.name, answer.choice, answer.confidence) == ("mood", "positive", 1.0)
    assert [(one.value, one.probability) for one in answer.probabilities] == [
        ("positive", 1.0),
        ("negative", 0.0),
        ("neutral", 0.0),
    ]
    assert found.model == "local/good"
    assert found.usage.total_tokens == 10
    assert found.usage.input_tokens_details.cached_tokens == 0
    assert raw.headers["x-inhouse-calibrated"] == "false"
    assert raw.headers["x-inhouse-arm"] == "incumbent"
    kept = recorded(server, raw.headers["x-inhouse-interaction-id"])
    assert (kept.task, kept.input, kept.output) == ("sentiment", TEXT, {"label": "positive"})
    Decision.model_validate_json(raw.content, strict=True)


def test_a_task_on_a_decision_model_has_probabilities(
    client: openai.OpenAI, upstream: ScriptedUpstream, server: ServerHandle
) -> None:
    raw = client.decisions.with_raw_response.create(model="task:soft", input=TEXT, questions=[MOOD])
    (answer,) = raw.parse().answers
    assert isinstance(answer, AnswerAnswerResourceChoice)
    assert answer.choice == "positive"
    assert [one.value for one in answer.probabilities] == ["positive", "negative", "neutral"]
    assert [one.probability for one in answer.probabilities] == pytest.approx([0.6, 0.2, 0.2])
    assert answer.confidence == pytest.approx(0.4)
    assert raw.headers["x-inhouse-calibrated"] == "true"
    assert upstream.requests[-1].path == "/v1/decisions"
    kept = recorded(server, raw.headers["x-inhouse-interaction-id"])
    assert kept.probabilities["positive"] == pytest.approx(0.6)


def test_a_score_stands_between_its_levels(client: openai.OpenAI) -> None:
    levels: Any = [{"label": "negative"}, {"label": "neutral"}, {"label": "positive"}]
    question: Any = {"type": "score", "instructions": "", "levels": levels}
    found = client.decisions.create(model="task:rating", input=TEXT, questions=[question])
    (answer,) = found.answers
    assert isinstance(answer, AnswerAnswerResourceScore)
    assert answer.score == pytest.approx(1.5)
    assert [(one.label, one.value) for one in answer.probabilities] == [
        ("negative", 0),
        ("neutral", 1),
        ("positive", 2),
    ]


def test_messages_are_read(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    client.decisions.create(
        model="task:sentiment",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Where is it?"}]},
            {"role": "assistant", "content": "On its way."},
        ],
        questions=[MOOD],
    )
    prompt = upstream.requests[-1].messages[0]["content"]
    assert "user:\nWhere is it?\n\nassistant:\nOn its way." in prompt


def test_when_nothing_answers_the_declared_value_stands_in(client: openai.OpenAI) -> None:
    raw = client.decisions.with_raw_response.create(
        model="task:excused", input=TEXT, questions=[MOOD]
    )
    (answer,) = raw.parse().answers
    assert isinstance(answer, AnswerAnswerResourceChoice)
    assert answer.choice == "neutral"
    assert raw.headers["x-inhouse-calibrated"] == "false"
    assert raw.headers["x-inhouse-model-version"] == ""


def test_free_questions_to_a_chat_model(client: openai.OpenAI, server: ServerHandle) -> None:
    refused: Any = {"type": "predicate", "name": "no", "instructions": "REFUSE"}
    raw = client.decisions.with_raw_response.create(
        model="local/letters", input=TEXT, questions=[PREDICATE, TYPED, SCORE, refused]
    )
    found = raw.parse()
    yes, typed, score, no = found.answers
    assert isinstance(yes, AnswerAnswerResourcePredicate)
    assert yes.name is None
    assert yes.probability == pytest.approx(0.25)
    assert isinstance(typed, AnswerAnswerResourceChoice)
    assert typed.choice == "true"
    assert [one.value for one in typed.probabilities] == [True, "true"]
    assert isinstance(score, AnswerAnswerResourceScore)
    assert score.score == pytest.approx(0.75)
    assert isinstance(no, AnswerAnswerResourceRefusal)
    assert no.name == "no"
    assert found.model == "local/letters"
    assert (found.usage.input_tokens, found.usage.output_tokens) == (28, 12)
    assert raw.headers["x-inhouse-calibrated"] == "true"
    Decision.model_validate_json(raw.content, strict=True)
    kept = recorded(server, raw.headers["x-inhouse-interaction-id"])
    assert kept.task is None
    assert kept.input["text"] == TEXT
    assert kept.input["questions"][0] == PREDICATE
    assert kept.output["answers"][3] == {"type": "refusal", "name": "no"}
    assert kept.output["answers"][0]["probability"] == pytest.approx(0.25)
    assert kept.input_tokens == 28


def test_free_questions_to_a_decision_model_pass_through(
    client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    found = client.decisions.create(
        model="hosted/decider", input=TEXT, questions=[PREDICATE, TYPED, SCORE]
    )
    yes, typed, score = found.answers
    assert isinstance(yes, AnswerAnswerResourcePredicate)
    assert yes.probability == 0.75
    assert isinstance(typed, AnswerAnswerResourceChoice)
    assert typed.choice == "true"
    assert isinstance(score, AnswerAnswerResourceScore)
    assert score.score == pytest.approx(0.2 + 2 * 0.6)
    assert upstream.requests[-1].body["questions"] == [PREDICATE, TYPED, SCORE]
    assert found.usage.input_tokens == 11


def test_the_async_client_is_served_too(server: ServerHandle) -> None:
    async def main() -> list[Decision]:
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="unused", max_retries=0
        ) as client:
            asked = [
                client.decisions.create(model=model, input=TEXT, questions=[MOOD])
                for model in ("task:sentiment", "local/letters", "hosted/decider")
            ]
            return await asyncio.gather(*asked)

    found = asyncio.run(main())
    assert [one.answers[0].type for one in found] == ["choice"] * 3


@pytest.mark.parametrize(
    ("model", "question", "error", "code"),
    [
        ("task:nothing", MOOD, openai.NotFoundError, "task-not-found"),
        ("sentiment@7", MOOD, openai.NotFoundError, "version-not-found"),
        ("nowhere/good", MOOD, openai.NotFoundError, "upstream-not-found"),
        ("gpt", MOOD, openai.UnprocessableEntityError, "reference"),
        ("task:sentiment", PREDICATE, openai.UnprocessableEntityError, "decision-mismatch"),
        ("task:sentiment", TYPED, openai.UnprocessableEntityError, "decision-mismatch"),
        ("task:broken", MOOD, openai.InternalServerError, "no-backend"),
        ("local/mute", MOOD, openai.InternalServerError, "no-probabilities"),
        ("local/busy", MOOD, openai.RateLimitError, "upstream-status"),
        ("local/letters", {"type": "guess"}, openai.UnprocessableEntityError, "invalid-field"),
    ],
)
def test_errors_arrive_as_the_clients_own(
    client: openai.OpenAI,
    model: str,
    question: Any,
    error: type[openai.APIStatusError],
    code: str,
) -> None:
    with pytest.raises(error) as caught:
        client.decisions.create(model=model, input=TEXT, questions=[question])
    assert caught.value.code == code
    assert caught.value.body["message"]  # type: ignore[index]


def test_a_field_at_fault_is_named(client: openai.OpenAI) -> None:
    picture: Any = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.decisions.create(
            model="task:sentiment",
            input=[{"role": "user", "content": [picture]}],
            questions=[MOOD],
        )
    assert (caught.value.param, caught.value.code) == ("input[0].content[0]", "input-unsupported")
    many: Any = {**TYPED, "choices": [{"value": f"v{at}"} for at in range(21)]}
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.decisions.create(model="local/letters", input=TEXT, questions=[many])
    assert caught.value.code == "too-many-options"


def test_a_failed_decision_is_recorded(client: openai.OpenAI, server: ServerHandle) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.decisions.create(model="local/mute", input=TEXT, questions=[MOOD])
    kept = recorded(server, caught.value.response.headers["x-inhouse-interaction-id"])
    assert (kept.status, kept.error_code) == ("failed", "no-probabilities")


def test_a_caller_who_hangs_up_takes_the_questions_along(
    client: openai.OpenAI, upstream: ScriptedUpstream, server: ServerHandle
) -> None:
    async def hang_up() -> None:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="unused") as caller:
            asked = caller.decisions.create(
                model="local/hangs", input=TEXT, questions=[MOOD] * 3, timeout=60
            )
            call = asyncio.create_task(asked)
            await asyncio.to_thread(upstream.wait_until, lambda: upstream.hits["hangs"] == 3)
            call.cancel()
            await asyncio.wait([call])

    asyncio.run(hang_up())

    def cancelled() -> list[Any]:
        with Client(server.url) as sdk:
            return [one for one in sdk.interactions(limit=1000).items if one.status == "cancelled"]

    (kept,) = eventually(cancelled)
    assert kept.input["text"] == TEXT


def test_the_deadline_holds_for_all_questions_together(
    server: ServerHandle, wired: App, upstream: ScriptedUpstream
) -> None:
    call = DirectCall(
        interaction_id=new_id(), reference="local/hangs", input={"text": TEXT}, timeout_s=0.2
    )
    before = upstream.open_connections
    with pytest.raises(BackendError) as caught:
        asyncio.run(decide(wired.gateway, call, TEXT, [PREDICATE] * 20))
    assert caught.value.code == "timeout"
    upstream.wait_until(lambda: upstream.open_connections <= before)
    assert recorded(server, call.interaction_id).error_code == "timeout"


@pytest.mark.models
def test_free_questions_to_the_embedded_model(weights_store: Path, tmp_path: Path) -> None:
    settings = Settings(store=StoreSettings(path=str(weights_store)), folder=tmp_path)
    with (
        serve_in_thread(bootstrap(settings)) as running,
        openai.OpenAI(base_url=f"{running.url}/v1", api_key="unused", max_retries=0) as client,
    ):
        found = client.decisions.create(
            model="embedded/smollm2-135m",
            input="Profit rose by a fifth, well above expectations.",
            questions=[PREDICATE, MOOD, SCORE, TYPED],
        )
        again = client.decisions.create(
            model="embedded/smollm2-135m",
            input="Profit rose by a fifth, well above expectations.",
            questions=[MOOD],
        )
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            client.decisions.create(model="embedded/minilm-l6", input=TEXT, questions=[PREDICATE])
        assert caught.value.code == "no-decisions"
    assert [one.type for one in found.answers] == ["predicate", "choice", "score", "choice"]
    mood = found.answers[1]
    assert isinstance(mood, AnswerAnswerResourceChoice)
    assert math.fsum(one.probability for one in mood.probabilities) == pytest.approx(1)
    repeated = again.answers[0]
    assert isinstance(repeated, AnswerAnswerResourceChoice)
    assert [one.probability for one in repeated.probabilities] == pytest.approx(
        [one.probability for one in mood.probabilities], abs=1e-4
    )
    assert found.usage.input_tokens > 100
    assert found.model == "embedded/smollm2-135m"
