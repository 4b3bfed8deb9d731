"""Decisions between OpenAI's wire and our words: what is read, what fits, what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.decision import Decision

from inhouse.api.body import parse
from inhouse.api.decisions import check_fits, judgement_of, questions_of, response, text_of
from inhouse.api.problems import FieldError
from inhouse.client.decisions import DecisionRequest
from inhouse.gateway.entry import Outcome
from inhouse.inference.base import Judgement, Usage
from inhouse.inference.questions import choice_confidence, judgement, score_confidence, words_of
from inhouse.tasks.spec import TaskKind, TaskSpec

MOOD = TaskSpec(
    name="mood",
    kind=TaskKind.CHOICE,
    description="",
    labels=("negative", "neutral", "positive"),
    prompt="{{ input }}",
)
FLAG = TaskSpec(
    name="flag", kind=TaskKind.CHOICE, description="", labels=("no", "yes"), prompt="{{ input }}"
)
RATING = TaskSpec(
    name="rating",
    kind=TaskKind.SCORE,
    description="",
    low=-1.0,
    high=1.0,
    levels=(("bad", -1.0), ("fair", 0.0), ("good", 1.0)),
    prompt="{{ input }}",
)
BARE = TaskSpec(name="bare", kind=TaskKind.SCORE, description="", prompt="{{ input }}")
SPANS = TaskSpec(
    name="spans", kind=TaskKind.SPANS, description="", labels=("a", "b"), prompt="{{ input }}"
)
OBJECT = TaskSpec(name="object", kind=TaskKind.JSON, description="", prompt="{{ input }}")
PROSE = TaskSpec(name="prose", kind=TaskKind.TEXT, description="", prompt="{{ input }}")

PREDICATE: dict[str, Any] = {"type": "predicate", "instructions": "It is about money."}
_decoder = msgspec.json.Decoder(DecisionRequest)
SHARES = st.lists(st.floats(0, 1), min_size=2, max_size=10).filter(lambda found: sum(found) > 0)


def choice(*values: Any, **more: Any) -> dict[str, Any]:
    choices = [{"value": value} for value in values]
    return {"type": "choice", "instructions": "Which?", "choices": choices, **more}


def score(*labels: str) -> dict[str, Any]:
    levels = [{"label": label} for label in labels]
    return {"type": "score", "instructions": "How much?", "levels": levels}


def read(*questions: Mapping[str, Any], **more: Any) -> DecisionRequest:
    body = {"model": "m", "input": "x", "questions": questions, **more}
    return parse(_decoder, msgspec.json.encode(body))


def outcome(output: Mapping[str, Any], probabilities: Mapping[str, float] | None) -> Outcome:
    return Outcome(
        interaction_id="i",
        task="t",
        output=output,
        probabilities=probabilities,
        model_version="t@1",
        arm="incumbent",
        flagged=False,
        latency_ms=1.0,
        cost=0.0,
        usage=Usage(),
        route_revision=1,
    )


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"questions": []}, "questions"),
        ({"questions": [PREDICATE] * 401}, "questions"),
        ({"questions": [{"type": "guess", "instructions": "x"}]}, "questions[0].type"),
        ({"questions": [{"type": "predicate"}]}, "questions[0].instructions"),
        ({"questions": [choice("one")]}, "questions[0].choices"),
        ({"questions": [choice(*map(str, range(256)))]}, "questions[0].choices"),
        ({"questions": [choice("a", 1)]}, "questions[0].choices[1].value"),
        ({"questions": [score("one")]}, "questions[0].levels"),
        ({"questions": [score(*"abcdefghijk")]}, "questions[0].levels"),
        ({"questions": [{**PREDICATE, "weight": 2}]}, "questions[0].weight"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_a_request_that_does_not_fit_names_its_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldError) as caught:
        read(PREDICATE, **body) if "questions" not in body else read(*body["questions"])
    assert caught.value.field == field


def test_values_are_typed() -> None:
    (question,) = questions_of(read(choice(True, "true", False)).questions)
    assert [each["value"] for each in question["choices"]] == [True, "true", False]
    assert len(set(words_of(question))) == 3
    with pytest.raises(FieldError) as caught:
        questions_of(read(PREDICATE, choice(True, False, True)).questions)
    assert caught.value.field == "questions[1].choices"


def test_what_is_only_for_openais_cache_is_accepted() -> None:
    request = read(
        PREDICATE, prompt_cache_key="k", prompt_cache_options={"ttl": "30m"}, safety_identifier="u"
    )
    assert request.safety_identifier == "u"


@pytest.mark.parametrize(
    ("given_input", "text"),
    [
        ("as it is", "as it is"),
        ([user("one")], "one"),
        ([{"type": "message", **user("one")}], "one"),
        (
            [
                user(
                    [
                        {"type": "input_text", "text": "a", "prompt_cache_breakpoint": None},
                        {"type": "input_json", "data": {"b": [1, None]}},
                    ]
                )
            ],
            'a\n{"b":[1,null]}',
        ),
        (
            [
                {"role": "developer", "content": [{"type": "input_text", "text": "Be fair."}]},
                user("Refund me."),
                {
                    "role": "assistant",
                    "phase": "final_answer",
                    "content": [
                        {"type": "output_text", "text": "Sure."},
                        {"type": "refusal", "refusal": "No."},
                    ],
                },
            ],
            "developer:\nBe fair.\n\nuser:\nRefund me.\n\nassistant:\nSure.\nNo.",
        ),
        ([{"role": "system", "content": "alone"}], "system:\nalone"),
    ],
)
def test_messages_become_one_text(given_input: Any, text: str) -> None:
    assert text_of(given_input) == text


@pytest.mark.parametrize(
    ("given_input", "field"),
    [
        ([user([{"type": "input_image", "image_url": "data:x"}])], "input[0].content[0]"),
        (
            [user("a"), {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}],
            "input[1].type",
        ),
        ([{"type": "function_call_output", "call_id": "1", "output": "x"}], "input[0].type"),
        ([{"type": "custom_tool_call_output", "call_id": "1", "output": "x"}], "input[0].type"),
        ([{"role": "tool", "content": "x"}], "input[0].role"),
        ([user("a"), {"role": "user"}], "input[1].content"),
        ([user([{"type": "input_audio"}])], "input[0].content[0].type"),
        ([user(""), user(" ")], "input"),
    ],
)
def test_what_is_no_text_is_refused_by_its_field(given_input: Any, field: str) -> None:
    with pytest.raises(FieldError) as caught:
        text_of(given_input)
    assert caught.value.field == field
    assert field in caught.value.message


def test_instructions_may_have_parts_but_no_pictures() -> None:
    parts = [{"type": "input_text", "text": "Is it"}, {"type": "input_json", "data": {"a": 1}}]
    (question,) = questions_of(read({**PREDICATE, "instructions": parts}).questions)
    assert question["instructions"] == 'Is it\n{"a":1}'
    picture = {**PREDICATE, "instructions": [{"type": "input_image", "image_url": "data:x"}]}
    with pytest.raises(FieldError) as caught:
        questions_of(read(picture).questions)
    assert caught.value.field == "questions[0].instructions[0]"


@pytest.mark.parametrize(
    ("spec", "question"),
    [
        (MOOD, choice("positive", "neutral", "negative")),
        (FLAG, choice("yes", "no")),
        (FLAG, PREDICATE),
        (RATING, score("bad", "fair", "good")),
    ],
)
def test_a_question_of_the_task_fits(spec: TaskSpec, question: dict[str, Any]) -> None:
    check_fits(spec, read(question).questions)


@pytest.mark.parametrize(
    ("spec", "questions", "field"),
    [
        (MOOD, [choice("negative", "neutral", "positive")] * 2, "questions"),
        (MOOD, [choice("negative", "neutral")], "questions[0].choices"),
        (MOOD, [choice("negative", "neutral", "good")], "questions[0].choices"),
        (MOOD, [PREDICATE], "questions[0].type"),
        (MOOD, [score("negative", "neutral", "positive")], "questions[0].type"),
        (FLAG, [choice(True, False)], "questions[0].choices"),
        (RATING, [score("good", "fair", "bad")], "questions[0].levels"),
        (RATING, [choice("bad", "fair", "good")], "questions[0].type"),
        (BARE, [score("bad", "good")], "questions[0].levels"),
        (PROSE, [choice("a", "b")], "questions[0].type"),
        (SPANS, [choice("a", "b")], "questions[0].type"),
        (OBJECT, [score("a", "b")], "questions[0].type"),
    ],
)
def test_another_question_is_refused(
    spec: TaskSpec, questions: list[dict[str, Any]], field: str
) -> None:
    with pytest.raises(FieldError) as caught:
        check_fits(spec, read(*questions).questions)
    assert caught.value.code == "decision-mismatch"
    assert caught.value.field == field
    assert spec.name in caught.value.message


def test_a_label_is_answered_in_the_questions_order() -> None:
    found = outcome({"label": "neutral"}, {"negative": 0.1, "neutral": 0.7, "positive": 0.2})
    question = choice("positive", "neutral", "negative")
    assert judgement_of(MOOD, question, found).probabilities == pytest.approx((0.2, 0.7, 0.1))
    said = outcome({"label": "neutral"}, None)
    assert judgement_of(MOOD, question, said).probabilities == (0.0, 1.0, 0.0)


def test_a_predicate_is_the_probability_of_yes() -> None:
    found = outcome({"label": "no"}, {"no": 0.75, "yes": 0.25})
    assert judgement_of(FLAG, PREDICATE, found).probabilities == pytest.approx((0.25,))
    assert judgement_of(FLAG, PREDICATE, outcome({"label": "yes"}, None)).probabilities == (1.0,)


@given(st.floats(-1, 1))
def test_a_number_without_probabilities_stands_where_it_is_on_the_levels(value: float) -> None:
    question = score("bad", "fair", "good")
    judged = judgement_of(RATING, question, outcome({"value": value}, None))
    (answer,) = response("m", [question], [judged], Usage()).answers
    assert judged.probabilities is not None
    assert math.fsum(judged.probabilities) == pytest.approx(1)
    assert getattr(answer, "score") == pytest.approx(value + 1)  # noqa: B009


def test_the_answer_is_what_the_official_client_reads() -> None:
    questions = [
        {**PREDICATE, "name": "money"},
        choice(True, "true"),
        score("low", "middle", "high"),
        PREDICATE,
    ]
    judged = [
        Judgement(probabilities=(0.9,)),
        Judgement(probabilities=(0.25, 0.75)),
        Judgement(probabilities=(0.0, 0.5, 0.5)),
        Judgement(probabilities=None),
    ]
    usage = Usage(input_tokens=7, output_tokens=2)
    raw = msgspec.json.encode(response("a/b", questions, judged, usage))
    read_back = Decision.model_validate_json(raw, strict=True)
    assert read_back.model_dump() == {
        "model": "a/b",
        "answers": [
            {"type": "predicate", "name": "money", "probability": 0.9},
            {
                "type": "choice",
                "name": None,
                "choice": "true",
                "confidence": 0.5,
                "probabilities": [
                    {"value": True, "probability": 0.25},
                    {"value": "true", "probability": 0.75},
                ],
            },
            {
                "type": "score",
                "name": None,
                "score": 1.5,
                "confidence": 0.25,
                "probabilities": [
                    {"label": "low", "value": 0, "probability": 0.0},
                    {"label": "middle", "value": 1, "probability": 0.5},
                    {"label": "high", "value": 2, "probability": 0.5},
                ],
            },
            {"type": "refusal", "name": None},
        ],
        "usage": {
            "input_tokens": 7,
            "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 9,
        },
    }
    assert set(msgspec.json.decode(raw)["answers"][3]) == {"type", "name"}


@given(SHARES)
def test_confidence_lies_between_chance_and_certainty(weights: list[float]) -> None:
    shares = judgement(score(*map(str, range(len(weights)))), weights).probabilities
    assert shares is not None
    assert math.fsum(shares) == pytest.approx(1)
    for confidence in (choice_confidence, score_confidence):
        assert 0 <= confidence(shares) <= 1
        assert confidence([1.0, *[0.0] * (len(shares) - 1)]) == 1
    assert choice_confidence([1 / len(shares)] * len(shares)) == pytest.approx(0)


@pytest.mark.parametrize("weights", [(0.0, 0.0), (math.nan, 1.0), (-0.1, 1.0), (math.inf, 1.0)])
def test_weights_that_are_no_distribution_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="probabilit"):
        judgement(choice("a", "b"), weights)
