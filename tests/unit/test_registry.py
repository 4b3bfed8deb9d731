"""Versions and routes on both dialects."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from inhouse.core.errors import Conflict, Invalid, NotFound
from inhouse.core.states import VersionStatus
from inhouse.db.unit import Database, WriteUnit
from inhouse.registry import move, retire, routes, versions
from inhouse.registry.versions import Version
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock
from inhouse.testing.versions import add_version

SPEC = TaskSpec(
    name="sentiment",
    kind=TaskKind.CHOICE,
    description="",
    labels=("negative", "positive"),
    prompt="{{ input }}",
    chain=("embedded/general",),
)


def _register(unit: WriteUnit, clock: FrozenClock, run_id: str | None = None) -> Version:
    return add_version(unit, SPEC, clock.now(), run_id=run_id)


def test_versions_are_numbered_per_task_and_entered_once_per_run(
    database: Database, clock: FrozenClock
) -> None:
    with database.write() as unit:
        first = _register(unit, clock, run_id="run-1")
        again = _register(unit, clock, run_id="run-1")
        second = _register(unit, clock)
    assert first == again
    assert (first.reference, second.reference) == ("sentiment@1", "sentiment@2")
    assert first.status is VersionStatus.CANDIDATE
    assert first.created_at == clock.now()


def test_status_moves_only_along_its_table(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        version = _register(unit, clock)
        rejected = versions.set_status(
            unit, version.id, VersionStatus.REJECTED, by="gate", why="worse", at=clock.now()
        )
    assert rejected.rejected == {"by": "gate", "why": "worse", "at": clock.now().isoformat()}
    with database.write() as unit, pytest.raises(Conflict, match="cannot become active"):
        versions.set_status(unit, version.id, VersionStatus.ACTIVE, by="x", why="y", at=clock.now())
    with database.write() as unit, pytest.raises(Conflict, match="rejected"):
        move.set_weight(
            unit, SPEC, candidate="sentiment@1", percent=10, actor="x", reason="", at=clock.now()
        )


def test_a_route_moves_by_appended_revisions(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        version = _register(unit, clock)
        ten = move.set_weight(
            unit,
            SPEC,
            candidate="sentiment@1",
            percent=10,
            actor="ann",
            reason="try",
            at=clock.now(),
        )
        full = move.set_weight(
            unit, SPEC, candidate=None, percent=100, actor="ann", reason="good", at=clock.now()
        )
        assert versions.by_id(unit, version.id).status is VersionStatus.ACTIVE
        back = move.rollback(unit, SPEC, actor="ann", reason="test", at=clock.now())
    assert [ten.revision, full.revision, back.revision] == [1, 2, 3]
    assert (ten.weight_bp, full.weight_bp, back.weight_bp) == (1000, 10_000, 0)
    assert ten.salt == full.salt == back.salt
    assert back.incumbent == "embedded/general"
    with database.read() as unit:
        assert routes.current(unit, "sentiment") == back
        assert routes.all_current(unit) == [back]
        assert [r.revision for r in routes.history(unit, "sentiment")] == [3, 2, 1]
    with database.write() as unit, pytest.raises(Conflict, match="already answers"):
        move.rollback(unit, SPEC, actor="ann", reason="", at=clock.now())


def test_the_incumbent_is_no_candidate(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit, pytest.raises(Invalid, match="is the incumbent"):
        move.set_weight(
            unit, SPEC, candidate=SPEC.chain[0], percent=50, actor="x", reason="", at=clock.now()
        )


def test_a_version_of_another_task_revision_gets_no_traffic(
    database: Database, clock: FrozenClock
) -> None:
    other = replace(SPEC, labels=("bad", "good"))
    with database.write() as unit:
        _register(unit, clock)
    with database.write() as unit, pytest.raises(Conflict, match="another revision"):
        move.set_weight(
            unit, other, candidate="sentiment@1", percent=10, actor="", reason="", at=clock.now()
        )
    with database.write() as unit, pytest.raises(NotFound):
        move.set_weight(
            unit, SPEC, candidate="sentiment@7", percent=10, actor="", reason="", at=clock.now()
        )
    with database.write() as unit, pytest.raises(Invalid, match="between 0 and 100"):
        move.set_weight(
            unit, SPEC, candidate="sentiment@1", percent=101, actor="", reason="", at=clock.now()
        )
    with database.read() as unit:
        assert routes.current(unit, "sentiment") is None


CONTENDERS = 50


def at_once(what: Callable[[], str]) -> list[str]:
    """What fifty threads that begin together return."""
    start = threading.Barrier(CONTENDERS)

    def one(_: int) -> str:
        start.wait(30)
        return what()

    with ThreadPoolExecutor(CONTENDERS) as pool:
        return sorted(pool.map(one, range(CONTENDERS)))


def promote(database: Database, clock: FrozenClock, expect: int) -> str:
    try:
        with database.write() as unit:
            move.set_weight(
                unit,
                SPEC,
                candidate="sentiment@1",
                percent=100 if expect % 2 == 0 else 50,
                actor="x",
                reason="",
                at=clock.now(),
                expect=expect,
            )
    except Conflict as error:
        return f"{error.status} {error.code}"
    return "won"


def test_of_fifty_who_promote_at_once_one_wins_each_revision(
    database: Database, clock: FrozenClock
) -> None:
    with database.write() as unit:
        _register(unit, clock)
    for revision in range(2):
        outcomes = at_once(lambda seen=revision: promote(database, clock, seen))  # type: ignore[misc]
        assert outcomes == ["409 route-changed"] * (CONTENDERS - 1) + ["won"]
    with database.read() as unit:
        assert [one.revision for one in routes.history(unit, "sentiment")] == [2, 1]
        assert versions.get(unit, "sentiment", 1).status is VersionStatus.ACTIVE


def test_of_fifty_who_change_a_status_at_once_none_undoes_another(
    database: Database, clock: FrozenClock
) -> None:
    with database.write() as unit:
        version = _register(unit, clock)
    turns = iter([VersionStatus.REJECTED, VersionStatus.ACTIVE] * CONTENDERS)

    def change() -> str:
        wanted = next(turns)
        try:
            with database.write() as unit:
                versions.set_status(unit, version.id, wanted, by="x", why="", at=clock.now())
        except Conflict:
            return "refused"
        return wanted.value

    outcomes = set(at_once(change))
    with database.read() as unit:
        left = versions.by_id(unit, version.id).status
    assert left.value in outcomes
    if left is VersionStatus.REJECTED:
        assert "refused" in outcomes, "no rejected version becomes active"


def test_versions_registered_at_once_get_numbers_of_their_own(
    database: Database, clock: FrozenClock
) -> None:
    def enter() -> str:
        with database.write() as unit:
            return f"{_register(unit, clock).number:02}"

    assert at_once(enter) == [f"{number:02}" for number in range(1, CONTENDERS + 1)]


def retired(database: Database, clock: FrozenClock, number: int = 1) -> Version:
    with database.write() as unit:
        return retire.archive(
            unit, [SPEC], "sentiment", number, by="ann", why="old", at=clock.now()
        )


def test_what_stands_on_a_route_is_not_archived(database: Database, clock: FrozenClock) -> None:
    fields = {"actor": "x", "reason": "", "at": clock.now()}
    with database.write() as unit:
        for _ in range(4):
            _register(unit, clock)
        move.set_weight(unit, SPEC, candidate="sentiment@1", percent=5, **fields)
        move.pin(unit, SPEC, "sentiment@2", **fields)
        other = routes.implicit("other", ("sentiment@3", "embedded/general"))
        routes.append(unit, other, expect=0, at=clock.now())
    for number, standing in (
        (1, r"sentiment \(candidate\)"),
        (2, r"sentiment \(pin\)"),
        (3, r"other \(incumbent, chain\)"),
    ):
        with pytest.raises(Conflict, match=f"sentiment@{number} serves: {standing}") as refused:
            retired(database, clock, number)
        assert refused.value.code == "version-serves"
    assert retired(database, clock, 4).status is VersionStatus.ARCHIVED


def test_a_declared_chain_counts_also_behind_a_task_that_was_moved(
    database: Database, clock: FrozenClock
) -> None:
    spec = replace(SPEC, name="urgency", chain=("sentiment@1",))
    with database.write() as unit:
        version = _register(unit, clock)
        assert retire.users(unit, [SPEC, spec], version.reference) == ["urgency (incumbent, chain)"]
        before = routes.implicit("urgency", ("embedded/general", "sentiment@2"))
        moved = routes.append(unit, before, expect=0, at=clock.now())
        assert retire.users(unit, [SPEC, spec], version.reference) == ["urgency (chain)"]
    assert routes.with_chain(moved, spec.chain).chain == ("sentiment@2", "sentiment@1")


def test_an_active_version_without_traffic_is_archived_for_good(
    database: Database, clock: FrozenClock
) -> None:
    fields = {"actor": "x", "reason": "", "at": clock.now()}
    with database.write() as unit:
        _register(unit, clock)
        move.set_weight(unit, SPEC, candidate="sentiment@1", percent=100, **fields)
    with pytest.raises(Conflict, match="serves"):
        retired(database, clock)
    with database.write() as unit:
        move.rollback(unit, SPEC, **fields)
    assert retired(database, clock).rejected == {
        "by": "ann",
        "why": "old",
        "at": clock.now().isoformat(),
    }
    with database.write() as unit, pytest.raises(Conflict, match="archived"):
        move.set_weight(unit, SPEC, candidate="sentiment@1", percent=5, **fields)
    with database.write() as unit, pytest.raises(Conflict, match="cannot become candidate"):
        retire.restore(unit, "sentiment", 1, by="x", why="", at=clock.now())


def test_a_rejected_version_is_archived_with_the_reason_of_its_rejection(
    database: Database, clock: FrozenClock
) -> None:
    with database.write() as unit:
        version = _register(unit, clock)
        versions.set_status(
            unit, version.id, VersionStatus.REJECTED, by="gate", why="worse", at=clock.now()
        )
        back = retire.restore(unit, "sentiment", 1, by="ann", why="try", at=clock.now())
        assert (back.status, back.rejected) == (VersionStatus.CANDIDATE, None)
        versions.set_status(
            unit, version.id, VersionStatus.REJECTED, by="gate", why="worse", at=clock.now()
        )
    archived = retired(database, clock)
    assert archived.rejected is not None
    assert archived.rejected["why"] == "worse"


def test_a_promotion_and_an_archiving_at_once_never_both_succeed(
    database: Database, clock: FrozenClock
) -> None:
    with database.write() as unit:
        for _ in range(10):
            _register(unit, clock)
    for number in range(1, 11):
        start = threading.Barrier(2)

        def put_away(number: int = number, start: threading.Barrier = start) -> bool:
            start.wait(30)
            try:
                return retired(database, clock, number).status is VersionStatus.ARCHIVED
            except Conflict:
                return False

        def give_traffic(number: int = number, start: threading.Barrier = start) -> bool:
            start.wait(30)
            try:
                with database.write() as unit:
                    move.set_weight(
                        unit,
                        SPEC,
                        candidate=f"sentiment@{number}",
                        percent=10,
                        actor="x",
                        reason="",
                        at=clock.now(),
                    )
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(put_away), pool.submit(give_traffic)]
            assert [one.result() for one in both].count(True) == 1


# Forks fifty processes that promote version 1 when the pipe closes; prints how each one ended.
CONTENDING = """
import os, sys
from inhouse.core.clock import SystemClock
from inhouse.core.errors import Conflict
from inhouse.db.unit import Database
from inhouse.registry import move
from inhouse.tasks.spec import TaskKind, TaskSpec

spec = TaskSpec(name="sentiment", kind=TaskKind.CHOICE, description="",
    labels=("negative", "positive"), prompt="{{ input }}", chain=("embedded/general",))
waiting, starting = os.pipe()

def promote():
    os.close(starting)
    database = Database(sys.argv[1])
    os.read(waiting, 1)
    try:
        with database.write() as unit:
            move.set_weight(unit, spec, candidate="sentiment@1", percent=100, actor="x",
                reason="", at=SystemClock().now(), expect=0)
    except Conflict as error:
        return 1 if error.code == "route-changed" else 2
    return 0

for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        code = 3
        try:
            code = promote()
        finally:
            os._exit(code)
os.close(starting)
for _ in range(int(sys.argv[2])):
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_of_many_processes_that_promote_at_once_one_wins(
    database: Database, database_url: str, clock: FrozenClock
) -> None:
    with database.write() as unit:
        _register(unit, clock)
    count = CONTENDERS if os.environ.get("INHOUSE_FULL") else 10
    ended = subprocess.run(
        [sys.executable, "-c", CONTENDING, database_url, str(count)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert sorted(ended.stdout.split()) == ["0"] + ["1"] * (count - 1), ended.stderr
