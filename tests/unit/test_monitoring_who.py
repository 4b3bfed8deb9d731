"""Who answers a unit at a moment: what is told afterwards is what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inhouse.core.clock import SystemClock
from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.tables import Meta
from inhouse.db.unit import Database
from inhouse.gateway.call import Gateway
from inhouse.gateway.entry import Call
from inhouse.gateway.route import FULL_BP, Arm, draw
from inhouse.gateway.table import RouteTable
from inhouse.inference.base import Hosting, Question, Reply, Usage
from inhouse.interactions.pseudonym import pseudonym
from inhouse.interactions.record import Recorder
from inhouse.interactions.search import get
from inhouse.monitoring.who import Who, who
from inhouse.registry import move
from inhouse.settings import Settings, TaskSettings, UpstreamSettings
from inhouse.tasks.catalog import load_catalog
from inhouse.testing.gateway import wire_gateway

SALT = b"0123456789abcdef"
CLOCK = SystemClock()
TASK = TaskSettings(
    kind="choice", labels=("bad", "good"), prompt="{{ input }}", chain=("local/old", "local/spare")
)
LOCAL = UpstreamSettings(base_url="http://127.0.0.1:1/v1")
CATALOG = load_catalog(Settings(tasks={"mood": TASK}, upstreams={"local": LOCAL}))
SPEC = CATALOG.get("mood")
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["weight", "weight", "pin", "unpin", "rollback"]),
        st.sampled_from(["local/new", "local/newer"]),
        st.integers(1, 99),
        st.lists(st.sampled_from([None, *"abcdefgh"]), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=6,
)


class Backend:
    """Answers "good" at once; the spare one is asked when the others are down."""

    hosting = Hosting.LOCAL

    def __init__(self, reference: str) -> None:
        self.reference = reference

    def price(self, usage: Usage) -> float:
        return 0.0

    async def answer(self, question: Question) -> Reply:
        return Reply(content="good", usage=Usage(input_tokens=1, output_tokens=1))

    async def close(self) -> None:
        return None


@dataclass
class World:
    database: Database
    recorder: Recorder
    routes: RouteTable
    gateway: Gateway

    def call(self, unit: str | None) -> tuple[str, str]:
        """Make a call. Its id, and what ``who`` is to be asked for: its unit, else its id."""
        made = new_id()
        call = Call(interaction_id=made, task="mood", text="Fine.", unit=unit)
        asyncio.run(self.gateway.run(call))
        return made, unit or made

    def move(self, how: str, to: str, percent: int) -> None:
        with self.database.write() as unit:
            by = {"actor": "ann", "reason": f"{how} {percent}", "at": CLOCK.now()}
            if how == "weight":
                move.set_weight(unit, SPEC, candidate=to, percent=percent, **by)
            elif how == "rollback":
                route = self.routes.get("mood")
                if route.weight_bp or route.pin:
                    move.rollback(unit, SPEC, **by)
            else:
                move.pin(unit, SPEC, to if how == "pin" else None, **by)
        self.routes.refresh()

    def ask(self, name: str, interaction_id: str) -> Who:
        with self.database.read() as unit:
            at = get(unit, interaction_id).created_at
            return who(unit, SPEC, name, at, forced={})


@pytest.fixture
def world(sqlite_database: Database) -> Iterator[World]:
    with sqlite_database.write() as unit:
        unit.execute(table_of(Meta).insert().values(name="salt", value=SALT.hex()))
    recorder = Recorder(sqlite_database, clock=CLOCK)
    recorder.start()
    routes = RouteTable(sqlite_database, CATALOG, warm=str)
    gateway = wire_gateway(
        sqlite_database,
        catalog=CATALOG,
        resolve=Backend,
        recorder=recorder,
        routes=routes,
        salt=SALT,
    )
    yield World(sqlite_database, recorder, routes, gateway)
    recorder.stop()


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(moves=MOVES)
def test_what_is_told_of_every_call_is_what_was_recorded(
    world: World, moves: list[tuple[str, str, int, list[str | None]]]
) -> None:
    made = [world.call(None)]
    for how, to, percent, units in moves:
        world.move(how, to, percent)
        made += [world.call(unit) for unit in units]
    world.recorder.flush()
    for interaction_id, name in made:
        told = world.ask(name, interaction_id)
        (did,) = [one for one in told.recorded if one.id == interaction_id]
        assert (told.arm, told.reference) == (did.arm, did.reference)
        assert (told.route.revision, told.route.weight_bp) == (did.route_revision, did.weight_bp)


def test_the_answer_says_why(world: World) -> None:
    before, _ = world.call("article-42")
    world.move("weight", "local/new", 40)
    after, _ = world.call("article-42")
    world.recorder.flush()
    told = world.ask("article-42", after)
    hidden = pseudonym(SALT, "article-42")
    assert told.unit == hidden
    assert told.u == pytest.approx(draw(told.route.salt, hidden) / 2**64)
    assert told.weight == 4000 / FULL_BP
    assert (told.arm is Arm.CANDIDATE) == (told.u < told.weight)
    assert told.chain[-1] == "local/spare"
    assert (told.route.actor, told.route.reason) == ("ann", "weight 40")
    assert [one.id for one in told.recorded] == [before, after]
    implicit = world.ask("article-42", before)
    assert (implicit.route.revision, implicit.reference) == (0, "local/old")


def test_a_unit_that_never_called_has_an_answer_and_no_calls(world: World) -> None:
    made, _ = world.call("a")
    world.recorder.flush()
    told = world.ask("never seen", made)
    assert (told.reference, list(told.recorded)) == ("local/old", [])
