"""Reading what general models say. Sentences are of the kinds that real models answer with."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import Invalid
from inhouse.tasks.outputs import Unparsable, check, from_probabilities, parse
from inhouse.tasks.spec import TaskKind, TaskSpec

CHOICE = TaskSpec(
    name="sentiment",
    kind=TaskKind.CHOICE,
    description="",
    labels=("negative", "neutral", "positive"),
    prompt="{{ input }}",
)
BIAS = TaskSpec(
    name="bias",
    kind=TaskKind.CHOICE,
    description="",
    labels=("unbiased", "biased"),
    prompt="{{ input }}",
)
SCORE = TaskSpec(
    name="sentiment",
    kind=TaskKind.SCORE,
    description="",
    low=-1.0,
    high=1.0,
    levels=(("negative", -1.0), ("neutral", 0.0), ("positive", 1.0)),
    prompt="{{ input }}",
)


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("negative", "negative"),
        ("Negative.", "negative"),
        (" **Positive** ", "positive"),
        ("The sentiment of this news text is neutral.", "neutral"),
        ("Sentiment: positive\n\nThe text reports a rise in profit.", "positive"),
        ('{"label": "negative"}', "negative"),
        ('```json\n{"sentiment": "Neutral"}\n```', "neutral"),
        ('Here is the answer: {"answer": "positive"}', "positive"),
        ('"neutral"', "neutral"),
    ],
)
def test_a_label_is_read_where_it_is_certain(said: str, label: str) -> None:
    assert parse(CHOICE, said) == {"label": label}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        ("I'm sorry, but I can't rate this text.", "refused"),
        ("As an AI language model, I do not have opinions.", "refused"),
        ("It is negative for workers but positive for shareholders.", "several"),
        ("The text is not negative.", "denied"),
        ("The company announced its results on Monday.", "no label"),
        ('{"mood": "bad"}', "no answer"),
        ('{"label": 3}', "no label"),
        ("negativity abounds", "no label"),
    ],
)
def test_what_is_no_label_is_refused(said: str, why: str) -> None:
    with pytest.raises(Unparsable, match=why):
        parse(CHOICE, said)


SAID_BY_A_SMALL_MODEL = [
    (SCORE, "-1.0", {"value": -1.0}),
    (SCORE, "1", {"value": 1.0}),
    (SCORE, "[Sentence 1]", None),
    (CHOICE, "Negative.", {"label": "negative"}),
    (
        CHOICE,
        "The news text has a positive sentiment, as it is a news report about a hearing scheduled "
        "for Tuesday morning.",
        {"label": "positive"},
    ),
    (
        CHOICE,
        "The sentiment of the news text is neutral, as it does not convey a positive or negative "
        "opinion.",
        None,
    ),
    (BIAS, "Unbiased", {"label": "unbiased"}),
    (BIAS, "Abused.", None),
    (BIAS, "The hearing is set for Tuesday morning.", None),
    (
        BIAS,
        "The news is set for Tuesday morning and is neutral, meaning it is not biased towards any "
        "particular audience, platform, or party.",
        None,
    ),
    (
        BIAS,
        "The revised sentence is: June 1, 2022, Leads to a critical analysis of the new "
        "treatment's efficacy in aiding in the reduction of relapse rates.",
        None,
    ),
]
"""What SmolLM2-135M-Instruct wrote when it was asked the built-in tasks; None: not to be read."""


@pytest.mark.parametrize(("spec", "said", "output"), SAID_BY_A_SMALL_MODEL)
def test_what_a_real_model_said(
    spec: TaskSpec, said: str, output: dict[str, object] | None
) -> None:
    if output is not None:
        assert parse(spec, said) == output
        return
    with pytest.raises(Unparsable):
        parse(spec, said)


def test_a_label_inside_another_is_not_confused() -> None:
    assert parse(BIAS, "The wording is unbiased.") == {"label": "unbiased"}
    assert parse(BIAS, "Biased") == {"label": "biased"}
    with pytest.raises(Unparsable, match="denied"):
        parse(BIAS, "This sentence is not biased")


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("0.7", 0.7),
        ("-0.35", -0.35),
        ("−0.5", -0.5),
        ("+1", 1.0),
        (".5", 0.5),
        ("1.2", 1.0),
        ("-1.4", -1.0),
        ("Sentiment: 0.8", 0.8),
        ("Sentiment score: -0.6\n\nThe text describes a loss of 12 million.", -0.6),
        ("On a scale from -1 to 1, I would rate this 0.4.", 0.4),
        ('{"score": 0.25}', 0.25),
        ('```\n{"value": -0.9}\n```', -0.9),
        ('{"sentiment": "0.1"}', 0.1),
        ("0.5 (0.5)", 0.5),
    ],
)
def test_a_number_is_read_and_clamped(said: str, value: float) -> None:
    assert parse(SCORE, said) == {"value": pytest.approx(value)}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "empty"),
        ("85", "far outside"),
        ("The text describes a loss of 12 million.", "not as the answer"),
        ("7/10", "several|far outside"),
        ("between 0.2 and 0.4 perhaps 0.3 or 0.1", "several"),
        ("I cannot determine the sentiment.", "refused"),
        ("very positive", "no number"),
        ('{"value": null}', "no finite"),
        ('{"value": true}', "no finite"),
        ("the 3rd quarter was up 4.5% and 2.0% more", "no number|several|far"),
    ],
)
def test_what_is_no_number_is_refused(said: str, why: str) -> None:
    with pytest.raises(Unparsable, match=why):
        parse(SCORE, said)


@given(st.text(max_size=300))
def test_parsing_ends_in_a_valid_output_or_a_refusal(said: str) -> None:
    for spec in (CHOICE, BIAS, SCORE):
        try:
            output = parse(spec, said)
        except Unparsable:
            continue
        assert check(spec, output) == output


def test_corrections_take_one_form() -> None:
    assert check(CHOICE, "neutral") == check(CHOICE, {"label": "neutral"}) == {"label": "neutral"}
    assert check(SCORE, 1) == check(SCORE, {"value": 1.0}) == {"value": 1.0}


@pytest.mark.parametrize(
    "value",
    ["bad", 3, None, True, {"label": "bad"}, {"value": 1}, {"label": "neutral", "x": 1}, []],
)
def test_a_correction_that_does_not_fit_says_what_would(value: object) -> None:
    with pytest.raises(Invalid) as caught:
        check(CHOICE, value)
    assert "sentiment" in caught.value.message


@pytest.mark.parametrize("value", [2, -1.01, math.nan, math.inf, "0.5", True, None])
def test_a_score_outside_its_range_is_refused(value: object) -> None:
    with pytest.raises(Invalid, match="no score"):
        check(SCORE, value)


def test_probabilities_become_outputs() -> None:
    shares = {"negative": 0.2, "neutral": 0.4, "positive": 0.4}
    assert from_probabilities(CHOICE, shares) == {"label": "neutral"}
    assert from_probabilities(SCORE, shares) == {"value": pytest.approx(0.2)}
