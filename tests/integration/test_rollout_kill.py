"""kill -9 between any two statements of a step: one incumbent, and evidence that can be told again.

Every victim is forked from a process that has imported everything and has one thread, and ends
itself before its n-th statement or commit; n counts up until a step comes to its end.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from inhouse.core.clock import SystemClock
from inhouse.core.states import VersionStatus
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.registry import routes, versions
from inhouse.rollout import intake_records, records, steer
from inhouse.rollout.plan import FULL_BP, RolloutState
from inhouse.rollout.reconcile import Reconciler
from inhouse.rollout.records import RolloutRecord
from inhouse.rollout.tables import SplitOwner
from inhouse.rollout.tell import weight_of
from inhouse.tasks.catalog import Catalog
from inhouse.testing.rollouts import SPEC, quick_plan
from inhouse.testing.traffic import Traffic
from inhouse.testing.versions import add_version

PLAN = quick_plan(
    steps_bp=(5000, FULL_BP),
    margin=0.4,
    first_outcomes=10,
    bake_s=0.0,
)
TEMPLATE = """
import os, signal, sys
from sqlalchemy import event
from inhouse.core.clock import SystemClock
from inhouse.db.unit import Database
from inhouse.rollout.reconcile import Reconciler
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec

SPEC = TaskSpec(name="tone", kind=TaskKind.CHOICE, description="", labels=("good", "bad"),
                prompt="{{ input }}", chain=("embedded/general",))

def step(url, rollout_id, last):
    database, left = Database(url), [last]
    steps = Reconciler(database, SystemClock(), Catalog([SPEC]))
    def count(*_):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    event.listen(database.engine, "before_cursor_execute", count)
    event.listen(database.engine, "commit", count)
    made = steps.step(rollout_id)
    os._exit(0 if made is not None else 3)

for line in sys.stdin:
    url, rollout_id, last = line.split()
    child = os.fork()
    if child == 0:
        step(url, rollout_id, int(last))
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Victims:
    """Processes that step a rollout until they kill themselves."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TEMPLATE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def step(self, url: str, rollout: RolloutRecord, last: int) -> int:
        """The exit code of one that dies before its ``last`` statement: -9 then, 0 when it made a
        decision first, 3 when there was nothing to decide."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{url} {rollout.id} {last}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    made = Victims()
    yield made
    made.process.communicate()


def check(database: Database, rollout: RolloutRecord) -> RolloutRecord:
    """Everything that is stored says the same."""
    with database.read() as unit:
        found = records.get(unit, rollout.id)
        decisions = records.decisions(unit, rollout.id)
        intakes = intake_records.list_intakes(unit, rollout.id)
        route = routes.current(unit, SPEC.name)
        status = versions.get(unit, SPEC.name, 1).status
        owners = unit.execute(select(table_of(SplitOwner))).all()
    assert route is not None
    assert route.revision == found.route_revision
    assert [one.number for one in decisions] == list(range(1, len(decisions) + 1))
    assert [one.number for one in intakes] == list(range(1, found.intakes + 1))
    assert decisions[-1].state is found.state
    assert decisions[-1].route_revision == route.revision
    assert bool(owners) is not found.is_over
    if found.state is RolloutState.DONE:
        assert (route.incumbent, route.candidate, route.weight_bp) == ("tone@1", None, 0)
        assert status is VersionStatus.ACTIVE
    else:
        expected = ("embedded/general", "tone@1", weight_of(found))
        assert (route.incumbent, route.candidate, route.weight_bp) == expected
        is_rejected = found.state is RolloutState.ROLLED_BACK
        expected_status = VersionStatus.REJECTED if is_rejected else VersionStatus.CANDIDATE
        assert status is expected_status
    if not intakes[-1].fresh:
        again: dict[str, Any] = Reconciler(database, SystemClock(), Catalog([SPEC])).reading(
            rollout.id
        )
        stored = intakes[-1].reading
        for name in ("outcomes", "candidate", "harm", "fresh", "mismatch"):
            assert again[name] == stored[name], name
    return found


def begin(database: Database) -> RolloutRecord:
    clock = SystemClock()
    with database.write() as unit:
        add_version(unit, SPEC, clock.now())
        return steer.start(
            unit, SPEC, candidate="tone@1", plan=PLAN, actor="ada", reason="", at=clock.now()
        )


def kill_through(
    victims: Victims, database: Database, url: str, rollout: RolloutRecord, first: int, stride: int
) -> int:
    """Kill at every ``stride``-th point until a step gets through; how many died."""
    before, died = check(database, rollout), 0
    while True:
        code = victims.step(url, rollout, first + died * stride)
        after = check(database, rollout)
        if code == 0:
            assert after.revision > before.revision
            return died
        assert code == -9
        died += 1
        if after.revision != before.revision:
            return died  # it died behind its commit


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    ("bad", "ends"),
    [
        ((0.02, 0.02), [RolloutState.BAKING, RolloutState.DONE]),
        ((0.02, 0.95), [RolloutState.ROLLED_BACK]),
    ],
)
def test_a_step_that_dies_leaves_nothing_by_halves(
    victims: Victims,
    database: Database,
    database_url: str,
    bad: tuple[float, float],
    ends: list[RolloutState],
    every: bool,
) -> None:
    stride = 1 if every else 3 if database.is_sqlite else 9
    rollout = begin(database)
    traffic = Traffic(database, SPEC, SystemClock())
    for first, end in enumerate(ends, 1):
        traffic.send(150, bad=bad)
        assert kill_through(victims, database, database_url, rollout, first, stride)
        assert check(database, rollout).state is end
