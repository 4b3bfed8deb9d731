"""Models are opened beside those who follow the routes: one that hangs holds up nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path

import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.errors import Unavailable
from inhouse.core.ids import new_id
from inhouse.core.references import Reference, parse_reference
from inhouse.db.unit import Database, ReadUnit
from inhouse.gateway.entry import Call, Outcome
from inhouse.gateway.opening import Opening
from inhouse.gateway.shadow import Shadows, Target
from inhouse.gateway.table import RouteTable
from inhouse.gateway.warming import MOST_S
from inhouse.inference.base import Backend
from inhouse.interactions.record import Recorder
from inhouse.registry import routes
from inhouse.registry.routes import Route
from inhouse.serving.backends import Backends
from inhouse.settings import Settings
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog, load_catalog
from inhouse.testing.clock import FrozenClock
from inhouse.testing.gateway import wire_gateway
from inhouse.testing.upstream_server import ScriptedUpstream

WITHIN_S = 60.0


class Gated(Backends):
    """The backends of a process; opening ``stuck`` does not end before ``gate`` is set. What would
    read files, the upstream answers for."""

    def __init__(self, settings: Settings, database: Database, folder: Path) -> None:
        super().__init__(settings, database, ModelStore(folder / "store", SystemClock()))
        self.gate = threading.Event()
        self.stuck = "embedded/stuck"
        self.begun: list[str] = []

    def _make(self, reference: Reference) -> Backend:
        self.begun.append(str(reference))
        if str(reference) == self.stuck:
            assert self.gate.wait(WITHIN_S)
        return self._upstream(parse_reference(f"up/{reference.name}"))


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with ScriptedUpstream({"well": "positive", "stuck": "negative"}) as upstream:
        declared = {
            "builtin": "sentiment",
            "kind": "choice",
            "chain": ["up/well"],
            "timeout_s": 30.0,
        }
        yield Settings(
            folder=tmp_path,
            upstreams={"up": {"base_url": upstream.base_url}},
            tasks={"mood": declared, "tone": declared},
        )


@pytest.fixture
def backends(settings: Settings, sqlite_database: Database, tmp_path: Path) -> Iterator[Gated]:
    made = Gated(settings, sqlite_database, tmp_path)
    yield made
    made.gate.set()


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    return load_catalog(settings)


def append(database: Database, clock: FrozenClock, task: str, **changes: object) -> Route:
    with database.write() as unit:
        seen = routes.current(unit, task) or routes.implicit(task, ("up/well",))
        moved = replace(seen, **changes)  # type: ignore[arg-type]
        return routes.append(unit, moved, expect=seen.revision, at=clock.now())


def following(
    database: Database, catalog: Catalog, clock: FrozenClock, backends: Backends
) -> RouteTable:
    """A table that has looked before."""
    table = RouteTable(database, catalog, warm=backends.resolve, clock=clock)
    table.refresh()
    return table


def test_a_candidate_that_hangs_delays_no_other_task_and_no_rollback(
    sqlite_database: Database, catalog: Catalog, clock: FrozenClock, backends: Gated
) -> None:
    """Every look is one ``poll`` of this thread, so that a look that waits never returns."""
    table = following(sqlite_database, catalog, clock, backends)
    append(sqlite_database, clock, "mood", candidate="embedded/stuck", weight_bp=1000)
    table.mirror.poll()
    assert (table.get("mood").revision, table.stale) == (0, False), "the one before it serves"
    append(sqlite_database, clock, "tone", candidate="up/well", weight_bp=1000)
    table.refresh(["tone"])
    assert (table.get("tone").revision, table.get("mood").revision) == (1, 0)
    append(sqlite_database, clock, "mood", weight_bp=0)
    table.mirror.poll()
    assert (table.get("mood").revision, table.get("mood").weight_bp) == (2, 0)
    assert backends.begun.count("embedded/stuck") == 1
    assert "embedded/stuck" not in backends.open_references()


def test_a_revision_comes_into_force_when_its_model_is_open(
    sqlite_database: Database, catalog: Catalog, clock: FrozenClock, backends: Gated
) -> None:
    append(sqlite_database, clock, "mood", candidate="embedded/well", weight_bp=1000)
    table = following(sqlite_database, catalog, clock, backends)
    append(sqlite_database, clock, "mood", candidate="embedded/stuck", weight_bp=5000)
    table.mirror.poll()
    before = table.get("mood")
    assert before.revision == 1
    assert before.weight_bp == 0, "a candidate that was dropped is not asked meanwhile"
    backends.gate.set()
    table.refresh(["mood"])
    assert (table.get("mood").revision, table.get("mood").weight_bp) == (2, 5000)
    assert "embedded/stuck" in backends.open_references()


def test_who_answered_everything_goes_on_while_the_next_candidate_is_opened(
    sqlite_database: Database, catalog: Catalog, clock: FrozenClock, backends: Gated
) -> None:
    """At 100 % it is the candidate of its revision, and the incumbent of the next one."""
    append(sqlite_database, clock, "mood", candidate="up/well", incumbent="", weight_bp=routes.FULL)
    table = following(sqlite_database, catalog, clock, backends)
    begun = {"candidate": "embedded/stuck", "incumbent": "up/well", "weight_bp": 1000}
    append(sqlite_database, clock, "mood", **begun)
    table.mirror.poll()
    before = table.get("mood")
    assert (before.candidate, before.weight_bp) == ("up/well", routes.FULL)


def test_where_nobody_answered_before_calls_wait_for_the_model(
    sqlite_database: Database, catalog: Catalog, clock: FrozenClock, backends: Gated
) -> None:
    append(sqlite_database, clock, "mood", candidate="up/well", incumbent="", weight_bp=routes.FULL)
    table = following(sqlite_database, catalog, clock, backends)
    append(sqlite_database, clock, "mood", candidate="embedded/stuck", weight_bp=routes.FULL)
    table.mirror.poll()
    assert table.get("mood").candidate == "embedded/stuck"


def test_after_its_time_calls_meet_it_all_the_same(
    sqlite_database: Database, catalog: Catalog, clock: FrozenClock, backends: Gated
) -> None:
    table = following(sqlite_database, catalog, clock, backends)
    append(sqlite_database, clock, "mood", candidate="embedded/stuck", weight_bp=1000)
    table.mirror.poll()
    clock.advance(MOST_S - 1)
    table.mirror.poll()
    assert table.get("mood").revision == 0
    clock.advance(1)
    table.mirror.poll()
    assert (table.get("mood").revision, table.get("mood").weight_bp) == (1, 1000)
    table.refresh()
    assert backends.begun.count("embedded/stuck") == 1, "nobody waits for it twice"


def test_a_process_that_begins_takes_over_what_is_in_force(
    sqlite_database: Database, catalog: Catalog, clock: FrozenClock, backends: Gated
) -> None:
    append(sqlite_database, clock, "mood", pin="embedded/stuck")
    table = RouteTable(sqlite_database, catalog, warm=backends.resolve, clock=clock)
    table.mirror.poll()
    assert table.get("mood").pin == "embedded/stuck"


def test_a_shadow_is_not_copied_to_before_its_model_is_open(
    sqlite_database: Database, clock: FrozenClock, backends: Gated
) -> None:
    wanted = {"mood": Target("embedded/stuck", 1), "tone": Target("up/well", 1)}

    def load(_: ReadUnit) -> dict[str, Target]:
        return wanted

    shadows = Shadows(
        sqlite_database,
        load,
        warm=backends.resolve,
        recorder=Recorder(sqlite_database, clock=clock, process_id="p"),
        clock=clock,
        jitter=lambda: 0.0,
    )
    while not shadows.targets:
        shadows.mirror.poll()
    assert shadows.targets == {"tone": Target("up/well", 1)}
    backends.gate.set()
    while shadows.targets != wanted:
        shadows.mirror.poll()
    assert "embedded/stuck" in backends.open_references()


def test_calls_wait_for_one_opening_and_leave_the_threads_of_others_alone(
    sqlite_database: Database, settings: Settings, catalog: Catalog, backends: Gated
) -> None:
    """More calls than the event loop has threads meet a model that hangs; each falls back."""
    declared = settings.tasks["mood"].model_copy(update={"try_timeout_s": 2.0})
    catalog.replace(load_catalog(settings.model_copy(update={"tasks": {"mood": declared}})))
    recorder = Recorder(sqlite_database, clock=SystemClock(), process_id="p")
    recorder.start()
    with sqlite_database.write() as unit:
        declared_route = routes.implicit("mood", ("up/well",))
        route = replace(declared_route, candidate="embedded/stuck", weight_bp=routes.FULL)
        routes.append(unit, route, expect=0, at=SystemClock().now())
    table = RouteTable(sqlite_database, catalog, warm=str)
    table.refresh()
    gateway = wire_gateway(
        sqlite_database,
        catalog=catalog,
        routes=table,
        resolve=backends.resolve,
        recorder=recorder,
        failures=1000,
    )

    async def call(number: int) -> Outcome:
        asked = Call(task="mood", text=f"{number}", interaction_id=new_id())
        return await gateway.run(asked)

    async def calls() -> list[str]:
        async with asyncio.timeout(WITHIN_S):
            found = await asyncio.gather(*map(call, range(40)))
            await asyncio.to_thread(str)
            return [one.model_version for one in found]

    try:
        assert asyncio.run(calls()) == ["up/well"] * 40
    finally:
        recorder.stop()
    assert backends.begun.count("embedded/stuck") == 1


def test_an_opening_is_shared_and_begins_again_after_it_failed() -> None:
    go_on, asked = threading.Event(), []

    def die(reference: str) -> None:
        asked.append(reference)
        assert go_on.wait(WITHIN_S)
        raise Unavailable(f"no {reference}", code="model-unusable")

    opening: Opening[None] = Opening(die)
    first = opening.begin("a")
    assert opening.begin("a") is first
    assert not first.cancel(), "others wait for it"
    go_on.set()
    wait([first], WITHIN_S)
    with pytest.raises(Unavailable):
        first.result()
    assert opening.begin("a") is not first
    wait([opening.begin("b")], WITHIN_S)
    assert asked[0] == "a"
