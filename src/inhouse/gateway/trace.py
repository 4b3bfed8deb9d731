"""What is known of a call while it runs, so that one that is cut off is recorded too."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NotRequired, Protocol, TypedDict, cast

import msgspec

from inhouse.core.references import ReferenceKind
from inhouse.inference.base import Backend, Reply, Usage
from inhouse.interactions.record import InteractionRecord, Spending, Status

SKIPPED: Final = frozenset({"breaker-open", "breaker-silent", "upstream-limit"})
"""Codes of attempts that never reached their backend."""


class Priced(Protocol):
    """A backend that costs money per token."""

    def price(self, usage: Usage) -> float: ...


class Attempt(TypedDict):
    """One try of one backend, as it is stored. ``code`` is None when it answered."""

    reference: str
    ok: bool
    code: str | None
    latency_ms: float
    message: NotRequired[str]


class Trace(msgspec.Struct, kw_only=True):
    """One call under way: what was fixed when it came in, and what its tries used up so far."""

    interaction_id: str
    created_at: datetime
    started: float
    input: Any
    arm: str
    unit: str
    subject: str | None
    tags: Mapping[str, str] | None
    key_id: str | None
    task: str | None = None
    task_revision: str | None = None
    route_revision: int | None = None
    weight_bp: int | None = None
    warnings: tuple[str, ...] = ()
    attempts: list[Attempt] = []
    raw: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    used: dict[str, tuple[int, float]] = {}

    def note(self, backend: Backend, reply: Reply) -> None:
        """Count what a reply used and cost, whether it turns out to be readable or not."""
        self.note_usage(backend, reply.usage)
        self.raw = reply.content or None

    def note_usage(self, backend: Backend, usage: Usage) -> None:
        """Count what a try used and cost."""
        tokens = usage.input_tokens + usage.output_tokens
        cost = cast("Priced", backend).price(usage) if hasattr(backend, "price") else 0.0
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cost += cost
        upstream = upstream_of(backend.reference)
        before = self.used.get(upstream, (0, 0.0))
        self.used[upstream] = (before[0] + tokens, before[1] + cost)

    def spendings(self) -> tuple[Spending, ...]:
        """What the tries used up, by upstream ("" for engines); skipped backends are no tries."""
        tries: dict[str, int] = {}
        for attempt in self.attempts:
            if attempt["code"] not in SKIPPED:
                upstream = upstream_of(attempt["reference"])
                tries[upstream] = tries.get(upstream, 0) + 1
        return tuple(
            Spending(upstream, count, *self.used.get(upstream, (0, 0.0)))
            for upstream, count in tries.items()
        )

    def record(
        self,
        status: Status,
        latency_ms: float,
        *,
        error_code: str | None = None,
        output: Any = None,
        probabilities: Mapping[str, float] | None = None,
        reference: str | None = None,
        hosting: str | None = None,
        rescued: bool = False,
        shadow_of: str | None = None,
        paired_bad: bool | None = None,
    ) -> InteractionRecord:
        """The record of the finished call. ``shadow_of`` and ``paired_bad``: of the copy of a call,
        which it was, and whether that ended badly."""
        return InteractionRecord(
            id=self.interaction_id,
            created_at=self.created_at,
            task=self.task,
            task_revision=self.task_revision,
            status=status,
            error_code=error_code,
            input=self.input,
            output=output,
            raw=self.raw if self.task else None,
            probabilities=probabilities,
            reference=reference,
            hosting=hosting,
            arm=self.arm,
            route_revision=self.route_revision,
            weight_bp=self.weight_bp,
            rescued=rescued,
            unit=self.unit,
            subject=self.subject,
            tags=self.tags,
            attempts=self.attempts,
            latency_ms=latency_ms,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cost=self.cost,
            key_id=self.key_id,
            shadow_of=shadow_of,
            paired_bad=paired_bad,
            spendings=self.spendings(),
        )


@lru_cache(maxsize=4096)
def upstream_of(reference: str) -> str:
    """The upstream that a reference belongs to; "" for engines."""
    head, slash, _ = reference.partition("/")
    return head if slash and head != ReferenceKind.EMBEDDED else ""
