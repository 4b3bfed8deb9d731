"""Calls of a task as a gateway would record them: assigned by its route, with known chances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from msgspec import structs

from inhouse.core.clock import Clock
from inhouse.core.ids import new_id
from inhouse.db.bulk import bulk_cursor
from inhouse.db.unit import Database
from inhouse.gateway.route import Arm, assign
from inhouse.interactions.entry import InteractionRecord
from inhouse.interactions.insert import Inserts
from inhouse.interactions.outcomes import SHADOW
from inhouse.registry import routes
from inhouse.tasks.spec import TaskSpec


class Traffic:
    """Calls of one gateway process, which counts its own outcomes.

    Who meets which arm is drawn with a salt of its own instead of the route's, which is new every
    time: so the same calls meet the same arms.
    """

    def __init__(
        self,
        database: Database,
        spec: TaskSpec,
        clock: Clock,
        *,
        process: str = "g1",
        seed: int = 5,
    ) -> None:
        self._database = database
        self._spec = spec
        self._clock = clock
        self._random = Random(process)
        self._inserts = Inserts(database.engine.dialect, process)

    def send(
        self,
        count: int,
        *,
        bad: tuple[float, float] = (0.0, 0.0),
        latency_ms: tuple[float, float] = (100.0, 100.0),
    ) -> list[InteractionRecord]:
        """Record calls on the route as it stands. ``bad`` and ``latency_ms`` are (the incumbent's,
        the candidate's): chances of a failure, and mean times."""
        with self._database.read() as unit:
            route = routes.current(unit, self._spec.name)
        if route is None:
            raise LookupError(f"{self._spec.name} has no route yet")
        calls = [self._call(route, bad, latency_ms) for _ in range(count)]
        self._write(calls)
        return calls

    def copy(
        self, calls: Sequence[InteractionRecord], *, bad: float = 0.0, label: str | None = None
    ) -> list[InteractionRecord]:
        """Record what a candidate in shadow answers to copies of calls. ``bad``: chance of a
        failure; ``label``: what it says, by default what the caller got."""
        copies = [self._copy(call, bad, label) for call in calls]
        self._write(copies)
        return copies

    def _copy(self, call: InteractionRecord, bad: float, label: str | None) -> InteractionRecord:
        failed = self._random.random() < bad
        said = call.output if label is None else {"label": label}
        return structs.replace(
            call,
            id=new_id(),
            status="failed" if failed else "answered",
            output=None if failed else said,
            arm=SHADOW,
            shadow_of=call.id,
            paired_bad=call.status != "answered",
        )

    def _write(self, calls: Sequence[InteractionRecord]) -> None:
        with self._database.write() as write:
            cursor = bulk_cursor(write.dialect, write.connection.driver_connection)
            self._inserts.write_fresh(cursor, calls, self._inserts.rows(calls))

    def _call(
        self, route: routes.Route, bad: tuple[float, float], latency_ms: tuple[float, float]
    ) -> InteractionRecord:
        call_id, rnd = new_id(), self._random
        unit = f"{rnd.random()}"
        chosen = assign(replace(route, salt="traffic"), unit)
        is_candidate = chosen.arm is Arm.CANDIDATE
        failed = rnd.random() < bad[is_candidate]
        label = self._spec.labels[0] if self._spec.labels else "x"
        return InteractionRecord(
            id=call_id,
            created_at=self._clock.now(),
            status="failed" if failed else "answered",
            input="x",
            output=None if failed else {"label": label},
            latency_ms=latency_ms[is_candidate] * rnd.lognormvariate(0.0, 0.3),
            task=self._spec.name,
            task_revision=self._spec.revision,
            reference=None if failed else chosen.reference,
            arm=chosen.arm.value,
            route_revision=route.revision,
            weight_bp=route.weight_bp,
            unit=unit[:32],
        )
