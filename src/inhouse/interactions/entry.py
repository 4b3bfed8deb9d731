"""What is known of a finished call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a call ended. ``flagged``: the caller got the task's ``on_failure`` value. ``cancelled``:
    the caller hung up."""

    ANSWERED = "answered"
    FLAGGED = "flagged"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Spending:
    """What the tries of one call at one upstream ("" for all other backends) used up; ``tries`` is
    at least 1."""

    upstream: str
    tries: int
    tokens: int
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionRecord:
    """One call, as the columns of ``interactions.tables.Interaction``; they say what each means.

    ``spendings`` is no column: it is added to the table ``Spent`` in the same transaction.
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
    spendings: tuple[Spending, ...] = ()
