"""Copies of calls for a candidate that is tried beside the traffic.

The incumbent answers the call, and then the candidate answers a copy of it. Nobody gets to see that
answer; it is recorded with the arm ``shadow``, and a rollout counts the pair.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from inhouse.core.clock import Clock
from inhouse.core.errors import Unavailable
from inhouse.core.ids import new_id
from inhouse.core.log import Log
from inhouse.db.unit import Database, ReadUnit
from inhouse.gateway import metrics
from inhouse.gateway.breakers import Breakers
from inhouse.gateway.fallback import SHARE, AllFailed, Chain, code_of
from inhouse.gateway.mirror import Mirror
from inhouse.gateway.route import Arm
from inhouse.gateway.trace import Trace
from inhouse.gateway.warming import Warming
from inhouse.interactions.outcomes import SHADOW
from inhouse.interactions.record import InteractionRecord, Recorder, Status
from inhouse.tasks.spec import TaskSpec

MOST: Final = 8
"""Copies under way in one process; what comes while there are so many is not copied."""
DRAIN_S: Final = 2.0
"""How long copies may go on when the server stops."""
_DROPPED: Final = "dropped"
_log = Log("inhouse")


class Target(NamedTuple):
    """The candidate in shadow of a task, and the revision of the route whose calls are copied."""

    candidate: str
    revision: int


class Copied(NamedTuple):
    """What a candidate answered to a copy."""

    output: Any
    hosting: str
    probabilities: Mapping[str, float] | None = None


Ask = Callable[[str, Trace], Awaitable[Copied]]
"""Asks a reference what the call asked, and tells the trace what that used."""


class Shadows:
    """Asks candidates in shadow, and records what they answer. For the tasks of one event loop.

    ``load`` reads the targets by task; ``mirror`` is what a ``Poller`` polls. ``warm`` opens what a
    reference stands for, so that no copy has to wait for it: before that there are none. ``jitter``
    draws from [0, 1). At most ``most`` copies are under way at once. Copies count toward no limit,
    and breakers do not hear of them: what a candidate fails at is evidence and holds up nobody
    else.
    """

    def __init__(
        self,
        database: Database,
        load: Callable[[ReadUnit], Mapping[str, Target]],
        *,
        warm: Callable[[str], object],
        recorder: Recorder,
        clock: Clock,
        jitter: Callable[[], float],
        most: int = MOST,
    ) -> None:
        self._read = load
        self._warming = Warming(warm, clock)
        self._recorder = recorder
        self._clock = clock
        self._jitter = jitter
        self._most = most
        self._under_way: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._breakers = Breakers(
            clock=clock, jitter=jitter, failures=sys.maxsize, open_s=0.0, shown=False
        )
        self.mirror: Mirror[Mapping[str, Target]] = Mirror(
            database, self._load, name="shadows", initial={}
        )

    @property
    def targets(self) -> Mapping[str, Target]:
        """The candidates in shadow by task; empty while there is none."""
        return self.mirror.value

    def copy(self, spec: TaskSpec, original: Trace, ask: Ask, *, bad: bool) -> None:
        """Ask the task's candidate in shadow what a call asked that just ended, if the incumbent
        was to answer it. ``bad``: it was not answered, or not by the incumbent. Returns at once."""
        target = self.targets.get(spec.name)
        if target is None or original.route_revision != target.revision:
            return
        if original.arm != Arm.INCUMBENT:
            return
        if self._stopping or len(self._under_way) >= self._most:
            _count(spec.name, _DROPPED)
            return
        work = self._answer(target.candidate, spec, original, ask, bad)
        task = asyncio.get_running_loop().create_task(work, name="shadow")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def stop(self) -> None:
        """Copy nothing more, and let the copies under way end: those that take too long are
        cancelled, and are no evidence."""
        self._stopping = True
        left = set(self._under_way)
        if left:
            _, late = await asyncio.wait(left, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _answer(
        self, candidate: str, spec: TaskSpec, original: Trace, ask: Ask, bad: bool
    ) -> None:
        trace = self._trace(original)
        chain = Chain(
            clock=self._clock,
            jitter=self._jitter,
            breakers=self._breakers,
            attempts=trace.attempts,
        )
        status, told = Status.ANSWERED, {}
        try:
            found = await chain.walk(
                (candidate,), lambda reference: ask(reference, trace), _time_of(spec)
            )
            told = {**found._asdict(), "reference": candidate}
        except AllFailed as failed:
            status, told = Status.FAILED, {"error_code": failed.last.code}
        except Exception as error:  # noqa: BLE001 nobody waits for it
            _log.error("a copy of a call failed", reason=f"{type(error).__name__}: {error}")
            status, told = Status.FAILED, {"error_code": code_of(error)}
        latency_ms = round((self._clock.monotonic() - trace.started) * 1e3, 3)
        self._record(
            trace.record(
                status,
                latency_ms,
                shadow_of=original.interaction_id,
                paired_bad=bad,
                **told,
            )
        )

    def _trace(self, original: Trace) -> Trace:
        """That of the copy: of the same subject, so that both are erased together, and of no key,
        because nobody asked for it."""
        return Trace(
            interaction_id=new_id(),
            created_at=self._clock.now(),
            started=self._clock.monotonic(),
            input=original.input,
            arm=SHADOW,
            unit=original.unit,
            subject=original.subject,
            tags=original.tags,
            key_id=None,
            task=original.task,
            task_revision=original.task_revision,
            route_revision=original.route_revision,
            weight_bp=original.weight_bp,
        )

    def _record(self, record: InteractionRecord) -> None:
        try:
            self._recorder.put(record, confirm=False)
        except Unavailable:
            _count(record.task or "", _DROPPED)
        else:
            _count(record.task or "", record.status)

    def _load(self, unit: ReadUnit) -> Mapping[str, Target]:
        """The targets whose models are open, or have had the time to be."""
        targets = self._read(unit)
        cold = self._warming.cold({target.candidate for target in targets.values()})
        return {task: one for task, one in targets.items() if one.candidate not in cold}


def _time_of(spec: TaskSpec) -> float:
    """What a candidate with traffic would get: the incumbent stands behind it, so one try."""
    if spec.try_timeout_s is None:
        return spec.timeout_s * SHARE
    return min(spec.try_timeout_s, spec.timeout_s)


def _count(task: str, status: str) -> None:
    metrics.SHADOWS.labels(task, status).inc()
