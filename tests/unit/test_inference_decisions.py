"""Typed questions to upstreams: hosted decision models, and chat models by their likelihoods."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError, Invalid
from inhouse.inference.base import Judgements, Message, Question, Reply, Usage
from inhouse.inference.decisions import AT_ONCE, answer_typed, decide, judge_by_chat
from inhouse.inference.engines.lm_decide import Priors, judged, scoring
from inhouse.inference.wire import Wire
from inhouse.settings import UpstreamSettings
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.upstream_behaviours import completion, json_body, status
from inhouse.testing.upstream_exchange import Behaviour, Exchange
from inhouse.testing.upstream_server import ScriptedUpstream

T = TypeVar("T")
TEXT = "Profit rose by a fifth."
PREDICATE = {"type": "predicate", "instructions": "It is good news.", "name": "good"}
CHOICE = {
    "type": "choice",
    "instructions": "What is it about?",
    "choices": [{"value": "money", "description": "profit, costs"}, {"value": True}],
}
SCORE = {
    "type": "score",
    "instructions": "How good is it?",
    "levels": [{"label": "bad"}, {"label": "fair"}, {"label": "good"}],
}
QUESTIONS = (PREDICATE, CHOICE, SCORE)
MOOD = TaskSpec(
    name="mood",
    kind=TaskKind.CHOICE,
    description="The mood of the text",
    labels=("bad", "good"),
    prompt="{{ input }}",
)
RATING = TaskSpec(
    name="rating",
    kind=TaskKind.SCORE,
    description="",
    levels=(("bad", 0.0), ("good", 1.0)),
    prompt="{{ input }}",
)
NATIVE: dict[str, Any] = {
    "model": "decider-1",
    "answers": [
        {"type": "predicate", "name": "good", "probability": 0.8},
        {
            "type": "choice",
            "choice": True,
            "probabilities": [
                {"value": True, "probability": 0.75},
                {"value": "money", "probability": 0.25},
            ],
        },
        {
            "type": "score",
            "score": 1.5,
            "probabilities": [
                {"label": "bad", "value": 0, "probability": 0.0},
                {"label": "fair", "value": 1, "probability": 0.5},
                {"label": "good", "value": 2, "probability": 0.5},
            ],
        },
    ],
    "usage": {"input_tokens": 40, "output_tokens": 3},
}


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream({}) as server:
        yield server


def run(upstream: ScriptedUpstream, behaviour: Behaviour, ask: Callable[[Wire], Awaitable[T]]) -> T:
    upstream.script = {"m": behaviour}

    async def main() -> T:
        settings = UpstreamSettings(base_url=upstream.base_url)
        wire = Wire("up/m", settings=settings, clock=SystemClock())
        try:
            return await asyncio.wait_for(ask(wire), 20)
        finally:
            await wire.close()

    return asyncio.run(main())


def native(upstream: ScriptedUpstream, body: Any, questions: Any = QUESTIONS) -> Judgements:
    return run(upstream, json_body(body), lambda wire: decide(wire, "m", TEXT, questions))


def by_chat(
    upstream: ScriptedUpstream, behaviour: Behaviour, questions: Any = QUESTIONS
) -> Judgements:
    return run(upstream, behaviour, lambda wire: judge_by_chat(wire, "m", TEXT, questions))


def typed(upstream: ScriptedUpstream, body: Any, question: Question) -> Reply:
    return run(upstream, json_body(body), lambda wire: answer_typed(wire, "m", question))


def letters(shares: Mapping[str, float], **message: Any) -> dict[str, Any]:
    """A chat completion of one token, with these tokens as the likeliest."""
    body = completion(next(iter(shares), ""), **message)
    top = [{"token": one, "logprob": math.log(share)} for one, share in shares.items()]
    body["choices"][0]["logprobs"] = {"content": [{"token": "A", "top_logprobs": top}]}
    return body


def test_a_decision_model_is_asked_once_for_everything(upstream: ScriptedUpstream) -> None:
    found = native(upstream, NATIVE)
    assert [each.probabilities for each in found.answers] == [
        (0.8,),
        (0.25, 0.75),
        (0.0, 0.5, 0.5),
    ]
    assert (found.usage, found.model) == (Usage(input_tokens=40, output_tokens=3), "decider-1")
    (request,) = upstream.requests
    assert request.path == "/v1/decisions"
    assert request.body == {
        "model": "m",
        "input": TEXT,
        "questions": json.loads(json.dumps(QUESTIONS)),
    }


def test_a_refusal_leaves_the_others_answered(upstream: ScriptedUpstream) -> None:
    answers = [NATIVE["answers"][0], {"type": "refusal", "name": None}, NATIVE["answers"][2]]
    found = native(upstream, {**NATIVE, "answers": answers})
    assert found.answers[1].probabilities is None
    assert found.answers[2].probabilities == (0.0, 0.5, 0.5)


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "choice", "choice": "money", "probabilities": []},
        {"type": "predicate", "probability": 1.2},
        {"type": "predicate", "probability": None},
        {"type": "predicate"},
        {"probability": 0.5},
        "yes",
        None,
    ],
)
def test_an_answer_that_does_not_fit_is_garbage(upstream: ScriptedUpstream, answer: Any) -> None:
    with pytest.raises(BackendError) as caught:
        native(upstream, {**NATIVE, "answers": [answer]}, [PREDICATE])
    assert caught.value.code == "upstream-garbage"


@pytest.mark.parametrize(
    "probabilities",
    [
        {"money": 1.0},
        [{"value": "money", "probability": 0.5}, {"value": "true", "probability": 0.5}],
        [{"value": "money", "probability": 0.0}, {"value": True, "probability": 0.0}],
        [{"value": "money", "probability": -1.0}, {"value": True, "probability": 2.0}],
    ],
)
def test_probabilities_that_do_not_fit_are_garbage(
    upstream: ScriptedUpstream, probabilities: Any
) -> None:
    answer = {"type": "choice", "choice": "money", "probabilities": probabilities}
    with pytest.raises(BackendError) as caught:
        native(upstream, {**NATIVE, "answers": [answer]}, [CHOICE])
    assert caught.value.code == "upstream-garbage"


@pytest.mark.parametrize("body", [{}, {"answers": []}, {"answers": {}}, []])
def test_what_is_no_decision_is_garbage(upstream: ScriptedUpstream, body: Any) -> None:
    with pytest.raises(BackendError) as caught:
        native(upstream, body)
    assert caught.value.code == "upstream-garbage"


def test_a_status_is_the_wires(upstream: ScriptedUpstream) -> None:
    with pytest.raises(BackendError) as caught:
        run(upstream, status(429), lambda wire: decide(wire, "m", TEXT, QUESTIONS))
    assert (caught.value.code, caught.value.retryable) == ("upstream-status", True)


def test_a_tasks_question_is_asked_with_its_prompt(upstream: ScriptedUpstream) -> None:
    answer = {
        "type": "choice",
        "choice": "good",
        "probabilities": [
            {"value": "bad", "probability": 0.1},
            {"value": "good", "probability": 0.9},
        ],
    }
    question = Question(task=MOOD, text=TEXT, messages=(Message("user", f"Mood? {TEXT}"),))
    reply = typed(upstream, {**NATIVE, "answers": [answer]}, question)
    assert reply.output == {"label": "good"}
    assert reply.probabilities == pytest.approx({"bad": 0.1, "good": 0.9})
    assert (reply.model, reply.usage.input_tokens) == ("decider-1", 40)
    sent = upstream.requests[0].body
    assert sent["input"] == f"Mood? {TEXT}"
    assert sent["questions"] == [
        {
            "type": "choice",
            "name": "mood",
            "instructions": "The mood of the text",
            "choices": [{"value": "bad"}, {"value": "good"}],
        }
    ]


def test_a_score_with_levels_is_their_expected_value(upstream: ScriptedUpstream) -> None:
    answer = {
        "type": "score",
        "probabilities": [
            {"label": "bad", "value": 0, "probability": 0.25},
            {"label": "good", "value": 1, "probability": 0.75},
        ],
    }
    reply = typed(upstream, {**NATIVE, "answers": [answer]}, Question(task=RATING, text=TEXT))
    assert reply.output == {"value": pytest.approx(0.75)}
    assert upstream.requests[0].body["questions"][0]["levels"] == [
        {"label": "bad"},
        {"label": "good"},
    ]


def test_what_a_decision_model_cannot_answer(upstream: ScriptedUpstream) -> None:
    bare = TaskSpec(name="bare", kind=TaskKind.SCORE, description="", prompt="{{ input }}")
    for question in (Question(task=bare, text=TEXT), Question(messages=(Message("user", "x"),))):
        with pytest.raises(BackendError) as caught:
            typed(upstream, NATIVE, question)
        assert caught.value.code == "unsupported"
    assert not upstream.requests
    with pytest.raises(BackendError) as caught:
        typed(upstream, {"answers": [{"type": "refusal"}]}, Question(task=MOOD, text=TEXT))
    assert caught.value.code == "upstream-refused"


def test_a_chat_model_is_asked_for_letters(upstream: ScriptedUpstream) -> None:
    shares = {"A": 0.4, " A": 0.1, "B": 0.2, "b": 0.1, "The": 0.1}
    found = by_chat(upstream, json_body(letters(shares)), [PREDICATE, CHOICE])
    assert found.answers[0].probabilities == pytest.approx((0.5 / 0.7,))
    assert found.answers[1].probabilities == pytest.approx((0.5 / 0.7, 0.2 / 0.7))
    assert found.usage == Usage(input_tokens=14, output_tokens=6)
    sent = next(one.body for one in upstream.requests if "money" in one.messages[0]["content"])
    assert {name: value for name, value in sent.items() if name != "messages"} == {
        "model": "m",
        "logprobs": True,
        "top_logprobs": 20,
        "max_tokens": 1,
        "temperature": 0,
    }
    prompt = sent["messages"][0]["content"]
    assert prompt.startswith(TEXT)
    assert "What is it about?" in prompt
    assert "A. money: profit, costs\nB. true" in prompt


def test_no_more_than_eight_are_under_way(upstream: ScriptedUpstream) -> None:
    under_way = most = 0
    together = asyncio.Event()

    async def behave(exchange: Exchange) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == AT_ONCE:
            together.set()
        await asyncio.wait_for(together.wait(), 30)
        under_way -= 1
        await exchange.respond(200, json.dumps(letters({"A": 1.0})).encode())

    found = by_chat(upstream, behave, [PREDICATE] * 30)
    assert (len(found.answers), most) == (30, AT_ONCE)


@pytest.mark.parametrize(
    "body",
    [
        completion("A"),
        {**completion("A"), "choices": [{**completion("A")["choices"][0], "logprobs": None}]},
        letters({}),
    ],
)
def test_no_probabilities_are_invented(upstream: ScriptedUpstream, body: Any) -> None:
    with pytest.raises(BackendError) as caught:
        by_chat(upstream, json_body(body))
    assert caught.value.code == "no-probabilities"
    assert caught.value.hint


def test_an_answer_beside_the_options_is_none(upstream: ScriptedUpstream) -> None:
    with pytest.raises(BackendError) as caught:
        by_chat(upstream, json_body(letters({"<think>": 0.99, "A": 0.001})))
    assert caught.value.code == "unparsable"


def test_a_chat_models_refusal_is_one_answer(upstream: ScriptedUpstream) -> None:
    async def behave(exchange: Exchange) -> None:
        refuses = "good news" in exchange.request.messages[0]["content"]
        body = letters({"B": 1.0}, **({"refusal": "No."} if refuses else {}))
        await exchange.respond(200, json.dumps(body).encode())

    found = by_chat(upstream, behave)
    assert found.answers[0].probabilities is None
    assert found.answers[1].probabilities == (0.0, 1.0)
    filtered = letters({"B": 1.0}, finish_reason="content_filter")
    assert by_chat(upstream, json_body(filtered), [CHOICE]).answers[0].probabilities is None


def test_too_many_options_are_refused_before_anything_is_asked(upstream: ScriptedUpstream) -> None:
    many = {**CHOICE, "choices": [{"value": f"v{at}"} for at in range(21)]}
    with pytest.raises(Invalid) as caught:
        by_chat(upstream, json_body(letters({"A": 1.0})), [CHOICE, many])
    assert caught.value.code == "too-many-options"
    assert "questions[1].choices" in caught.value.message
    assert not upstream.requests


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{}]}, {"choices": [None]}])
def test_what_is_no_completion_is_garbage(upstream: ScriptedUpstream, body: Any) -> None:
    with pytest.raises(BackendError) as caught:
        by_chat(upstream, json_body(body))
    assert caught.value.code == "upstream-garbage"


def test_a_preference_is_kept_by_what_is_asked() -> None:
    priors = Priors()
    kept = priors.put(CHOICE, [[-1.0, -1.0], [-3.0, -1.0]])
    assert priors.get({**CHOICE, "name": "another name"}) == kept
    assert priors.get({**CHOICE, "instructions": "Something else?"}) is None
    for number in range(256):
        priors.put({**PREDICATE, "instructions": str(number)}, [[-1.0, -1.0]])
    assert priors.get(CHOICE) is None
    assert priors.get({**PREDICATE, "instructions": "255"}) is not None


def test_a_preference_is_taken_off_the_likelihoods() -> None:
    prior = Priors().put(CHOICE, [[-1.0, -3.0]])
    found = {"scores": [-2.0, -4.0], "lengths": [1, 5], "prompt_tokens": 30}
    judgement, usage = judged(CHOICE, found, prior)
    assert judgement.probabilities == pytest.approx((0.5, 0.5))
    surer, usage = judged(CHOICE, {**found, "scores": [-2.0, -3.0]}, prior)
    assert surer.probabilities == pytest.approx((1 / (1 + math.e), math.e / (1 + math.e)))
    assert usage == Usage(input_tokens=30, output_tokens=5)


def test_the_model_is_asked_for_words() -> None:
    request = scoring(TEXT, CHOICE)
    assert request["words"] == ["money", "true"]
    prompt = request["messages"][0]["content"]
    assert prompt.startswith(TEXT)
    assert "- money: profit, costs\n- true\n" in prompt
    assert scoring(TEXT, PREDICATE)["words"] == ["yes", "no"]
    alike = {**CHOICE, "choices": [{"value": True}, {"value": "true"}]}
    assert scoring(TEXT, alike)["words"] == ["true", '"true"']
