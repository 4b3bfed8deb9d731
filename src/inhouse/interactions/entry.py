"""What is known of a finished call."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec


class Status(StrEnum):
    """How a call ended. ``flagged``: the caller got the task's ``on_failure`` value. ``cancelled``:
    the caller hung up."""

    ANSWERED = "answered"
    FLAGGED = "flagged"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Spending(msgspec.Struct, frozen=True, gc=False):
    """What the tries of one call at one upstream ("" for all other backends) used up; ``tries`` is
    at least 1."""

    upstream: str
    tries: int
    tokens: int
    cost: float


class InteractionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One call, as the columns of ``interactions.tables.Interaction``; they say what each means.

    ``input`` may be the JSON that it came as (``msgspec.Raw``). ``spendings`` and ``paired_bad``
    are no columns: they go to the tables ``Spent`` and ``Outcome`` in the same transaction.
    """

    id: str
    created_at: datetime
    status: str
    input: Any
    latency_ms: float
    task: str | None = None
    task_revision: str | None = None
    error_code: str | None = None
    output: Any | None = None
    raw: str | None = None
    probabilities: Any | None = None
    reference: str | None = None
    hosting: str | None = None
    arm: str | None = None
    route_revision: int | None = None
    weight_bp: int | None = None
    rescued: bool = False
    unit: str | None = None
    subject: str | None = None
    tags: Any | None = None
    attempts: Any | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    key_id: str | None = None
    shadow_of: str | None = None
    paired_bad: bool | None = None
    spendings: tuple[Spending, ...] = ()
