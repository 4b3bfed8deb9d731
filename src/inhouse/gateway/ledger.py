"""What all calls have in common: they are let in, traced, paid for and recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from inhouse.core.clock import Clock
from inhouse.core.errors import Unavailable
from inhouse.gateway import metrics
from inhouse.gateway.entry import Caller
from inhouse.gateway.fallback import code_of
from inhouse.gateway.limits.limiter import Limiter
from inhouse.gateway.trace import Trace, upstream_of
from inhouse.interactions.pseudonym import pseudonym
from inhouse.interactions.record import InteractionRecord, Recorder, Status

_FREE_CHAT: Final = "-"
"""Label of free chats in metrics; no task can be called so."""


class Ledger:
    """Opens a trace for every call and closes it as one recorded interaction."""

    def __init__(self, *, recorder: Recorder, limiter: Limiter, clock: Clock, salt: bytes) -> None:
        self._recorder = recorder
        self._limiter = limiter
        self._clock = clock
        self._salt = salt

    def unit(self, caller: Caller) -> str:
        """The hash of what the split is drawn over."""
        return pseudonym(self._salt, caller.unit or caller.interaction_id)

    async def admit(self, caller: Caller) -> tuple[str, ...]:
        """Let a call in, after a wait where a limit throttles. Returns warnings of limits.

        Raises Exhausted (a limit is used up) and Unavailable (code ``record-failed``: it could not
        be recorded).
        """
        self._recorder.admit()
        if self._limiter.idle:
            return ()
        admission = self._limiter.admit(caller.key)
        if admission.delay_s > 0:
            await asyncio.sleep(admission.delay_s)
        return admission.warnings

    def admit_try(self, reference: str) -> None:
        """Raise BackendError (code ``upstream-limit``) when the upstream may not be asked now."""
        if not self._limiter.idle and (upstream := upstream_of(reference)):
            self._limiter.admit_try(upstream)

    def open(
        self, caller: Caller, recorded: Any, *, arm: str, unit: str, warnings: tuple[str, ...]
    ) -> Trace:
        """The trace of a call that was let in. ``recorded`` is its input as it is stored."""
        return Trace(
            interaction_id=caller.interaction_id,
            created_at=self._clock.now(),
            started=self._clock.monotonic(),
            input=recorded,
            arm=arm,
            unit=unit,
            subject=None if caller.subject is None else pseudonym(self._salt, caller.subject),
            tags=caller.tags,
            key_id=None if caller.key is None else caller.key.id,
            warnings=warnings,
        )

    async def close(
        self,
        trace: Trace,
        status: Status,
        *,
        output: Any,
        error_code: str | None = None,
        probabilities: Mapping[str, float] | None = None,
        reference: str | None = None,
        hosting: str | None = None,
        rescued: bool = False,
    ) -> InteractionRecord:
        """Record a call that has an answer; returns once it is as safe as the settings demand.

        Raises Unavailable (code ``record-failed``) when the answer may not be given.
        """
        record = trace.record(
            status,
            self._latency_ms(trace),
            output=output,
            error_code=error_code,
            probabilities=probabilities,
            reference=reference,
            hosting=hosting,
            rescued=rescued,
        )
        self._count(record)
        committed = self._recorder.put(record)
        if committed is not None:
            await committed
        return record

    def close_failed(self, trace: Trace, error: BaseException) -> None:
        """Record a call that ends in an error. The caller gets that error in any case, so one that
        cannot be recorded is only counted."""
        hung_up = isinstance(error, asyncio.CancelledError | GeneratorExit)
        record = trace.record(
            Status.CANCELLED if hung_up else Status.FAILED,
            self._latency_ms(trace),
            error_code="cancelled" if hung_up else code_of(error),
        )
        self._count(record)
        with suppress(Unavailable):
            self._recorder.put(record, confirm=False)

    def _count(self, record: InteractionRecord) -> None:
        """For the metrics, and for the limits of who pays."""
        task = record.task or _FREE_CHAT
        metrics.call_counter(task, record.arm, record.status).inc()
        metrics.call_timer(task, record.hosting or "none").observe(record.latency_ms / 1e3)
        if not self._limiter.idle:
            self._limiter.spend(record.key_id, record.spendings)

    def _latency_ms(self, trace: Trace) -> float:
        return round((self._clock.monotonic() - trace.started) * 1e3, 3)
