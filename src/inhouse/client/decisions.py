"""OpenAI's Decisions API on the wire: typed questions about a text, answered with probabilities.

A question refuses fields that it does not know. Choice values are typed: ``true`` and ``"true"``
are two values.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from inhouse.client.models import Key

Value = Annotated[str, Meta(min_length=1)] | bool
"""What a choice stands for."""


class InputText(Struct, tag_field="type", tag="input_text", kw_only=True, frozen=True):
    """Text of a user, developer or system message, or of instructions."""

    text: str


class InputJson(Struct, tag_field="type", tag="input_json", kw_only=True, frozen=True):
    """A JSON object, or a list of them; a model reads it as compact JSON."""

    data: dict[str, Any] | list[dict[str, Any]]


class InputImage(Struct, tag_field="type", tag="input_image", kw_only=True, frozen=True):
    """A picture; refused, with the field named."""

    image_url: str


class OutputText(Struct, tag_field="type", tag="output_text", kw_only=True, frozen=True):
    """Text of an assistant message."""

    text: str


class OutputRefusal(Struct, tag_field="type", tag="refusal", kw_only=True, frozen=True):
    """What an assistant said instead of an answer."""

    refusal: str


Part = InputText | InputJson | InputImage | OutputText | OutputRefusal
Role = Literal["user", "developer", "system", "assistant"]
Instructions = str | list[InputText | InputJson | InputImage]


class DecisionMessage(Struct, kw_only=True, frozen=True):
    """A message to decide about. ``role``: user, developer, system or assistant."""

    role: Role
    content: str | list[Part]


class PredicateQuestion(
    Struct,
    tag_field="type",
    tag="predicate",
    kw_only=True,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """How likely is it that a statement about the input is true?"""

    instructions: Instructions
    name: str | None = None


class DecisionChoice(
    Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One of the values to choose from."""

    value: Value
    description: str | None = None


class ChoiceQuestion(
    Struct,
    tag_field="type",
    tag="choice",
    kw_only=True,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Which of the values fits the input? Each value stands there once."""

    instructions: Instructions
    choices: Annotated[list[DecisionChoice], Meta(min_length=2, max_length=255)]
    name: str | None = None


class DecisionLevel(
    Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One level of a scale."""

    label: Annotated[str, Meta(min_length=1)]
    description: str | None = None


class ScoreQuestion(
    Struct,
    tag_field="type",
    tag="score",
    kw_only=True,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Where on a scale is the input? The lowest level comes first."""

    instructions: Instructions
    levels: Annotated[list[DecisionLevel], Meta(min_length=2, max_length=10)]
    name: str | None = None


DecisionQuestion = PredicateQuestion | ChoiceQuestion | ScoreQuestion


class DecisionRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Questions about one input.

    ``model``: ``task:<task>`` or ``<task>@<n>`` with the one question that the task answers, or
    ``<upstream>/<model>`` or ``embedded/<base>`` with free ones. ``input``: a text, or messages of
    users, developers, systems and assistants with text and JSON parts. ``safety_identifier``: the
    unit of the call when the header ``x-inhouse-unit`` is absent. What tells OpenAI how to cache
    is accepted and not used.
    """

    model: Key
    input: Annotated[str, Meta(min_length=1)] | Annotated[list[dict[str, Any]], Meta(min_length=1)]
    questions: Annotated[list[DecisionQuestion], Meta(min_length=1, max_length=400)]
    safety_identifier: Key | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None


class PredicateAnswer(Struct, tag_field="type", tag="predicate", kw_only=True, frozen=True):
    """How likely the statement is."""

    name: str | None
    probability: float


class ChoiceProbability(Struct, kw_only=True, frozen=True):
    """How likely a value is the right one."""

    value: Value
    probability: float


class ChoiceAnswer(Struct, tag_field="type", tag="choice", kw_only=True, frozen=True):
    """The likeliest value, the first of equals, and how likely each one is, in the question's
    order. ``confidence``: 0 when all are as likely as each other, 1 when one is certain:
    (highest - 1/n) / (1 - 1/n)."""

    name: str | None
    choice: Value
    confidence: float
    probabilities: list[ChoiceProbability]


class LevelProbability(Struct, kw_only=True, frozen=True):
    """How likely a level is; ``value`` is its position, from 0."""

    label: str
    value: int
    probability: float


class ScoreAnswer(Struct, tag_field="type", tag="score", kw_only=True, frozen=True):
    """The expected level, from 0 to the number of levels less 1, and how likely each level is.

    ``confidence``: 1 when one level is certain, falling to 0 as the mean distance from the
    likeliest level reaches that of levels drawn at random from the middle one.
    """

    name: str | None
    score: float
    confidence: float
    probabilities: list[LevelProbability]


class RefusalAnswer(Struct, tag_field="type", tag="refusal", kw_only=True, frozen=True):
    """The model declined to answer this question."""

    name: str | None


DecisionAnswer = PredicateAnswer | ChoiceAnswer | ScoreAnswer | RefusalAnswer


class InputTokensDetails(Struct, kw_only=True, frozen=True):
    """Always 0: what an upstream cached is not told."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputTokensDetails(Struct, kw_only=True, frozen=True):
    """Always 0."""

    reasoning_tokens: int = 0


class DecisionUsage(Struct, kw_only=True, frozen=True):
    """Tokens of all questions together, as the model counted them; 0 where it does not count."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputTokensDetails = InputTokensDetails()
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()


class DecisionResponse(Struct, kw_only=True, frozen=True):
    """The answers, in the order of the questions. ``model``: the reference that answered."""

    model: str
    answers: list[DecisionAnswer]
    usage: DecisionUsage
