"""What travels on the hot routes: requests, answers and errors, as msgspec structs.

A request refuses fields that it does not know; answers may gain fields in later versions.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Tags = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=64)],
        Annotated[str, Meta(max_length=512)],
    ],
    Meta(max_length=16, description="Up to 16 short pairs that are recorded with the call."),
]
Key = Annotated[str, Meta(min_length=1, max_length=256)]
User = Annotated[str, Meta(max_length=256)]


class RunRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A call of a task.

    ``input``: the text to judge. ``unit``: what a split is drawn over (a document, a user); calls
    of one unit meet the same model. ``subject``: whose data this is, so that it can be deleted;
    stored hashed. ``tags``: recorded beside the call. ``model``: a reference that must answer,
    instead of the task's route; such a call never counts as evidence.
    """

    input: Annotated[str, Meta(min_length=1)]
    unit: Key | None = None
    subject: Key | None = None
    tags: Tags | None = None
    model: Key | None = None


class RunResponse(Struct, kw_only=True, frozen=True):
    """The answer to a call of a task.

    ``output``: ``{"label": str}`` of a choice, ``{"value": float}`` of a score, ``{"text": str}``
    of a text, ``{"spans": [{"start", "end", "label", "text"}, ...]}`` of spans (offsets in code
    points of the input), the object itself of json. ``model_version``:
    the reference that answered; empty when none could and the task's ``on_failure`` value stands
    in, which ``flagged`` says. ``arm``: incumbent, candidate, pinned or forced. ``probabilities``:
    by label or level, where the model gives them. ``cost``: in the currency of the declared prices.
    """

    interaction_id: str
    task: str
    output: dict[str, Any]
    model_version: str
    arm: str
    flagged: bool
    latency_ms: float
    cost: float
    probabilities: dict[str, float] | None = None


class FeedbackRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A statement about an interaction.

    ``kind``: correction (``value`` is the right output), rating, outcome (a truth that came late)
    or comment. ``author``: who says so.
    """

    interaction_id: Annotated[str, Meta(min_length=36, max_length=36)]
    kind: Annotated[str, Meta(min_length=1, max_length=16)]
    value: Any
    author: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"\A[^\x00]*\Z")] | None = (
        None
    )


class FeedbackResponse(Struct, kw_only=True, frozen=True):
    """The statement as it is kept. ``created_at`` is UTC, RFC 3339."""

    id: str
    interaction_id: str
    kind: str
    value: Any
    created_at: str
    author: str | None = None


class ChatRequest(Struct, kw_only=True, frozen=True):
    """The fields of OpenAI's chat request that Inhouse reads; an upstream gets the others as well.

    ``model``: ``task:<task>``, ``<task>@<n>``, ``<upstream>/<model>`` or ``embedded/<base>``.
    ``user``: the unit of the call when the header ``x-inhouse-unit`` is absent; "" is none.
    ``metadata``: its tags. ``n``, ``tools`` and ``functions`` are refused when a task with a prompt
    of its own is asked; a task that takes messages passes everything on.
    """

    model: Key
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    user: User | None = None
    metadata: Tags | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None


class ChatMessage(Struct, kw_only=True, frozen=True):
    """What the task answered: ``content`` is the output as JSON."""

    content: str
    role: str = "assistant"
    refusal: str | None = None


class ChatChoice(Struct, kw_only=True, frozen=True):
    """The one choice of an answer."""

    message: ChatMessage
    index: int = 0
    finish_reason: str = "stop"
    logprobs: None = None


class ChatUsage(Struct, kw_only=True, frozen=True):
    """Tokens as the model that answered counted them; 0 where it does not count."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatResponse(Struct, kw_only=True, frozen=True):
    """OpenAI's chat completion around a task's output. ``model`` is the reference that answered."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
    object: str = "chat.completion"


class Health(Struct, kw_only=True, frozen=True):
    """The server runs. ``cut-off``: calls are answered by the routes as they were read
    ``routes_age_s`` seconds ago, since the database does not answer."""

    status: Literal["ok", "cut-off"] = "ok"
    routes_age_s: float | UnsetType = UNSET


class Problem(Struct, kw_only=True, frozen=True):
    """An error as RFC 9457 says it. ``code`` is stable; ``hint`` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""


class OpenAIErrorBody(Struct, kw_only=True, frozen=True):
    """The inside of an error on the OpenAI routes; ``param`` names the field at fault."""

    message: str
    type: str
    code: str
    param: str | None = None


class OpenAIError(Struct, kw_only=True, frozen=True):
    """An error on the OpenAI routes."""

    error: OpenAIErrorBody
