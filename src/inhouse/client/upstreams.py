"""Upstreams as they travel: what ``GET /v1/upstreams`` and its probe answer."""

from __future__ import annotations

from typing import Literal

from inhouse.client.breakers import Breaker
from inhouse.client.control import Answer
from inhouse.client.limits import Limit


class Duty(Answer):
    """A task that a model may have to answer, and by which ways: forced, pinned, first
    choice, candidate with its share, fallback."""

    task: str
    ways: list[str]


class Model(Answer):
    """A model of an upstream, or one of this installation. ``breaker`` is None until its first
    call. Prices are per million tokens, None where none is declared."""

    reference: str
    duties: list[Duty]
    breaker: Breaker | None
    input_price: float | None
    output_price: float | None


class Upstream(Answer):
    """An upstream with the models that tasks or calls named. ``base_url`` without what
    looks like a secret."""

    name: str
    base_url: str
    hosting: Literal["external", "local"]
    speaks: str
    has_key: bool
    models: list[Model]
    limits: list[Limit]


class Probe(Answer):
    """What one model did when it was asked once, for a task of its. ``code``, ``message`` and
    ``hint`` are "" if ``ok``."""

    task: str
    reference: str
    ok: bool
    answer: str
    latency_ms: float
    input_tokens: int
    output_tokens: int
    cost: float
    code: str
    message: str
    hint: str
