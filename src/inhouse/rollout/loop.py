"""Our rule as it runs in a server, without the server: recorded calls, the stored route, feedback,
and the reconcile loop over a SQLite database in memory. Nothing sleeps and nothing has a thread."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import update

from inhouse.core.ids import new_id
from inhouse.db.base import Base
from inhouse.db.bulk import bulk_cursor
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.feedback.submit import FeedbackKind, submit
from inhouse.gateway.route import Arm
from inhouse.gateway.table import RouteTable
from inhouse.interactions.entry import InteractionRecord, Status
from inhouse.interactions.insert import Inserts
from inhouse.interactions.outcomes import SHADOW
from inhouse.registry import versions
from inhouse.registry.routes import Route
from inhouse.registry.tables import RouteRevision
from inhouse.rollout import steer
from inhouse.rollout.bars import Verdict
from inhouse.rollout.direct import PROCESS, USUAL_S
from inhouse.rollout.played import Made, Sent
from inhouse.rollout.reconcile import Reconciler
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.rollout.scenarios import Scenario
from inhouse.rollout.truths import Call
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec, Unit

TASK: Final = "simulated"
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_RIGHT, _WRONG = "right", "wrong"
_ACTOR: Final = "simulation"


class StillClock:
    """Time that passes by ``advance`` and not otherwise."""

    def __init__(self) -> None:
        self._now = _START
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """The wall clock jumps; what is negative, back."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += max(0.0, seconds)


class Loop:
    """One simulated rollout in a database of its own; ``made`` are its decisions.

    A second passes with every call. Batches are recorded in one transaction each, labels are
    feedback, and then the loop is stepped until it has nothing more to say.
    """

    def __init__(self, scenario: Scenario, salt: str) -> None:
        self.because = ""
        self.made: list[Made] = []
        self.clock = StillClock()
        self.database = Database("sqlite://")
        Base.metadata.create_all(self.database.engine)
        unit = Unit.USER if scenario.by_user else Unit.REQUEST
        self.spec = TaskSpec(
            name=TASK,
            kind=TaskKind.CHOICE,
            description="",
            labels=(_RIGHT, _WRONG),
            prompt="{{ input }}",
            chain=("general/model",),
            unit=unit,
        )
        self.catalog = Catalog([self.spec])
        self.rollout = self._begin(scenario, salt)
        self._shadows = bool(scenario.plan.shadow_inputs)
        self._routes = RouteTable(self.database, self.catalog, warm=lambda reference: None)
        self._routes.refresh()
        self._inserts = Inserts(self.database.engine.dialect, PROCESS)
        self._ids: dict[int, str] = {}
        self.reconciler = self.reconcilers()

    @property
    def route(self) -> Route:
        """The stored route, as a gateway has it."""
        return self._routes.get(TASK)

    def reconcilers(self) -> Reconciler:
        """A reconciler that knows nothing yet."""
        return Reconciler(self.database, self.clock, self.catalog)

    def see(self, sent: Sequence[Sent], labels: Sequence[Sent]) -> Verdict | None:
        self.record(sent)
        self.tell(labels)
        while (decision := self.step()) is not None:
            self._routes.refresh()
            made = Made(sent[-1].number, decision.kind, decision.weight_bp, decision.evidence)
            self.made.append(made)
            self.because = made.because
            if made.verdict is not None:
                return made.verdict
        return None

    def record(self, sent: Sequence[Sent]) -> None:
        """Write calls as the recorder does, in one transaction."""
        calls = [record for one in sent for record in self.records(one)]
        with self.database.write() as unit:
            cursor = bulk_cursor(unit.dialect, unit.connection.driver_connection)
            self._inserts.write_fresh(cursor, calls, self._inserts.rows(calls))

    def records(self, one: Sent) -> list[InteractionRecord]:
        """A call as the gateway records it, and the copy that a shadow answered."""
        self.clock.advance(1.0)
        call = self._ids[one.number] = new_id()
        revision = self.route.revision
        kept = self._record(one, call, one.candidate, revision)
        if not self._shadows:
            return [kept]
        return [kept, self._record(one, new_id(), True, revision, arm=SHADOW, shadow_of=call)]

    def tell(self, labels: Sequence[Sent]) -> None:
        """Submit the truths of calls as feedback."""
        for one in labels:
            error = one.call.error
            if error is not None:
                is_right = not error[one.candidate]
                self.submit(one, _RIGHT if is_right else _WRONG)

    def submit(self, one: Sent, label: str, *, author: str | None = None) -> None:
        """Submit what is said to be the truth of one call."""
        with self.database.write() as unit:
            submit(
                unit,
                interaction_id=self._ids[one.number],
                kind=FeedbackKind.OUTCOME,
                value=label,
                author=author,
                idempotency_key=None,
                at=self.clock.now(),
                catalog=self.catalog,
            )

    def step(self) -> DecisionRecord | None:
        """One step of the loop."""
        return self.reconciler.step(self.rollout.id)

    def close(self) -> None:
        """Give the database up."""
        self.database.close()

    def _begin(self, scenario: Scenario, salt: str) -> RolloutRecord:
        """A rollout of a registered version, by a route that draws with ``salt``."""
        at = self.clock.now()
        with self.database.write() as unit:
            versions.register(
                unit,
                task=TASK,
                task_revision=self.spec.revision,
                artifact=TASK,
                store_version="20260101T000000Z-0badcafe",
                manifest_digest="sha256:00",
                recipe="simulated.v1",
                run_id=None,
                snapshot_id=None,
                at=at,
            )
            begun = steer.start(
                unit,
                self.spec,
                candidate=f"{TASK}@1",
                plan=scenario.plan,
                actor=_ACTOR,
                reason="",
                at=at,
            )
            unit.execute(update(table_of(RouteRevision)).values(salt=salt))
        return begun

    def _record(
        self,
        one: Sent,
        call_id: str,
        candidate: bool,
        revision: int,
        arm: str | None = None,
        shadow_of: str | None = None,
    ) -> InteractionRecord:
        bad, latency = one.call.bad, one.call.latency_s
        is_bad = bool(bad[candidate])
        took_s = USUAL_S if latency is None else latency[candidate]
        return InteractionRecord(
            id=call_id,
            created_at=self.clock.now(),
            status=Status.FAILED if is_bad else Status.ANSWERED,
            input="x",
            output=None if is_bad else _output(one.call, copied=shadow_of is not None),
            latency_ms=took_s * 1e3,
            task=TASK,
            task_revision=self.spec.revision,
            reference=f"{TASK}@1" if candidate else "general/model",
            arm=arm or (Arm.CANDIDATE if one.arm else Arm.INCUMBENT).value,
            route_revision=revision,
            weight_bp=one.weight_bp,
            unit=one.call.unit,
            shadow_of=shadow_of,
            paired_bad=bool(bad[0]) if shadow_of else None,
        )


def _output(call: Call, *, copied: bool) -> dict[str, str]:
    """What a model says. A copy is answered otherwise where one of both answers is wrong."""
    differs = copied and call.error is not None and call.error[0] != call.error[1]
    return {"label": _WRONG if differs else _RIGHT}
