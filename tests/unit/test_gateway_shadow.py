"""Copies of calls for a candidate in shadow: what is copied and kept, and who never hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError, InhouseError
from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database, ReadUnit
from inhouse.feedback.export import Selection, interaction_lines
from inhouse.gateway.entry import Call, Outcome
from inhouse.gateway.shadow import Shadows, Target
from inhouse.gateway.table import RouteTable
from inhouse.inference.base import Hosting, Question, Reply, Usage
from inhouse.interactions.counts import facet_counts, sums
from inhouse.interactions.filters import Facets, Span
from inhouse.interactions.record import InteractionRecord, Recorder
from inhouse.interactions.search import counts_by_hosting, find, search
from inhouse.interactions.spent import totals
from inhouse.interactions.tables import Outcome as OutcomeRow
from inhouse.registry import move
from inhouse.testing.gateway import mood_catalog, wire_gateway

SHADOW = Facets(arm="shadow")
EVER = Span()


class Model:
    """Says the same every time, after ``gate`` where there is one, or fails."""

    hosting = Hosting.LOCAL

    def __init__(self, reference: str, said: str | Exception) -> None:
        self.reference = reference
        self.said = said
        self.gate: asyncio.Event | None = None
        self.asked: list[str] = []

    async def answer(self, question: Question) -> Reply:
        self.asked.append(question.text)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.said, Exception):
            raise self.said
        return Reply(content=self.said, usage=Usage(input_tokens=10, output_tokens=2))

    def price(self, usage: Usage) -> float:
        return 1.0

    async def close(self) -> None:
        return None


class World:
    """A gateway whose task has ``embedded/new`` in shadow from its second revision on."""

    def __init__(self, database: Database, **task: Any) -> None:
        self.database = database
        self.catalog = mood_catalog(**{"timeout_s": 60.0, **task})
        self.models = {
            name: Model(name, said)
            for name, said in {
                "embedded/a": "positive",
                "embedded/b": "neutral",
                "embedded/new": "negative",
            }.items()
        }
        self.recorder = Recorder(database, clock=SystemClock(), process_id="p")
        self.recorder.start()
        self.shadow = {"mood": Target("embedded/new", 1)}
        self.shadows = Shadows(
            database,
            self.load,
            warm=str,
            recorder=self.recorder,
            clock=SystemClock(),
            jitter=lambda: 0.0,
            most=2,
        )
        self.routes = RouteTable(database, self.catalog, warm=str)
        self.gateway = wire_gateway(
            database,
            catalog=self.catalog,
            routes=self.routes,
            resolve=self.models.__getitem__,
            recorder=self.recorder,
            shadows=self.shadows,
        )
        self.move(0)
        while self.shadows.targets != self.shadow:
            self.shadows.mirror.refresh()

    def load(self, _: ReadUnit) -> dict[str, Target]:
        return self.shadow

    def move(self, percent: float) -> None:
        with self.database.write() as unit:
            move.set_weight(
                unit,
                self.catalog.get("mood"),
                candidate="embedded/new",
                percent=percent,
                actor="ada",
                reason="",
                at=SystemClock().now(),
            )
        self.routes.refresh()

    def play(self, scene: Callable[[], Awaitable[Any]]) -> Any:
        """Run calls in a loop of their own, to the end of their copies."""

        async def whole() -> Any:
            async with asyncio.timeout(30):
                found = await scene()
                await self.shadows.stop()
                return found

        return asyncio.run(whole())

    async def run(self, text: str = "Fine.", **fields: Any) -> Outcome:
        fields.setdefault("interaction_id", new_id())
        return await self.gateway.run(Call(task="mood", text=text, **fields))

    def copies(self) -> list[InteractionRecord]:
        """What was recorded of the candidate, oldest first."""
        self.recorder.flush()
        with self.database.read() as unit:
            return find(unit, SHADOW, EVER).items[::-1]


@pytest.fixture
def make(sqlite_database: Database) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def build(**task: Any) -> World:
        made.append(World(sqlite_database, **task))
        return made[-1]

    yield build
    for world in made:
        world.recorder.stop()


def test_a_copy_is_a_call_of_its_own(make: Callable[..., World]) -> None:
    world = make()
    call = {"unit": "u1", "subject": "s1", "tags": {"place": "web"}}
    answered = world.play(lambda: world.run("Profits doubled.", **call))
    assert (answered.output, answered.arm) == ({"label": "positive"}, "incumbent")
    [copy] = world.copies()
    with world.database.read() as unit:
        [original] = search(unit)
        [outcome] = unit.execute(select(table_of(OutcomeRow))).all()
    assert (copy.shadow_of, copy.reference) == (original.id, "embedded/new")
    assert (copy.status, copy.output, copy.arm) == ("answered", {"label": "negative"}, "shadow")
    for name in ("input", "unit", "subject", "tags", "task", "task_revision", "route_revision"):
        assert getattr(copy, name) == getattr(original, name), name
    assert copy.key_id is None
    assert (outcome.arm, outcome.bad, outcome.paired_bad) == ("shadow", False, False)
    assert outcome.interaction_id == original.id


def test_copies_are_in_no_figure_and_no_list(make: Callable[..., World]) -> None:
    world = make()
    world.play(world.run)
    [copy] = world.copies()
    now = SystemClock().now()
    with world.database.read() as unit:
        assert [one.arm for one in search(unit)] == ["incumbent"]
        assert [one.arm for one in find(unit, Facets(), EVER, text="Fine").items] == ["incumbent"]
        assert [one.id for one in find(unit, SHADOW, EVER, text="Fine").items] == [copy.id]
        assert [one["arm"] for one in interaction_lines(unit, Selection())] == ["incumbent"]
        wanted = Selection(where={"arm": "shadow"})
        assert [one["id"] for one in interaction_lines(unit, wanted)] == [copy.id]
        facets = facet_counts(unit, EVER, Facets())
        assert facets["arm"] == [("incumbent", 1), ("shadow", 1)]
        assert facets["reference"] == [("embedded/a", 1)]
        assert [one.calls for one in sums(unit, EVER, by=("task",), facets=Facets())] == [1]
        spent = totals(unit, now.date().isoformat())
        found = counts_by_hosting(
            unit, since=now - timedelta(hours=1), until=now + timedelta(hours=1)
        )
    assert [(one.requests, one.cost) for one in spent] == [(1, 1.0)]
    assert [one.calls for one in found] == [1]


def test_only_what_the_incumbent_was_to_answer_is_copied(make: Callable[..., World]) -> None:
    world = make()

    async def others() -> None:
        await world.run(model="embedded/b")
        world.move(100)
        await world.run("the candidate's own")
        world.move(0)
        await world.run("another revision")
        world.shadow = {}
        world.shadows.mirror.refresh()
        await world.run("no shadow")

    world.play(others)
    assert world.models["embedded/new"].asked == ["the candidate's own"]
    assert world.copies() == []


@pytest.mark.parametrize(
    ("first", "second", "on_failure", "bad"),
    [
        ("positive", "neutral", None, False),
        (BackendError("down", code="upstream-status"), "neutral", None, True),
        ("no such label", BackendError("down", code="upstream-status"), {"label": "x"}, True),
        ("no such label", BackendError("down", code="upstream-status"), "error", True),
    ],
)
def test_a_pair_says_how_both_ended(
    make: Callable[..., World], first: Any, second: Any, on_failure: Any, bad: bool
) -> None:
    values = {} if on_failure is None else {"on_failure": on_failure}
    if isinstance(on_failure, dict):
        values = {"on_failure": {"value": "neutral"}}
    world = make(**values)
    world.models["embedded/a"].said, world.models["embedded/b"].said = first, second
    world.models["embedded/new"].said = "no such label"

    async def call() -> None:
        if on_failure == "error":
            with pytest.raises(InhouseError):
                await world.run()
        else:
            await world.run()

    world.play(call)
    [copy] = world.copies()
    assert (copy.status, copy.error_code) == ("failed", "unparsable")
    with world.database.read() as unit:
        [outcome] = unit.execute(select(table_of(OutcomeRow))).all()
    assert (outcome.bad, outcome.paired_bad) == (True, bad)


def test_a_candidate_that_hangs_holds_up_nobody(make: Callable[..., World]) -> None:
    world = make()
    gate = world.models["embedded/new"].gate = asyncio.Event()

    async def calls() -> None:
        for number in range(10):
            await world.run(f"text {number}")
        assert len(world.models["embedded/new"].asked) <= 2, "the others are dropped"
        while not world.models["embedded/new"].asked:
            await asyncio.sleep(0)
        gate.set()

    world.play(calls)
    assert 1 <= len(world.copies()) <= 2
    with world.database.read() as unit:
        assert len(search(unit)) == 10


def test_what_takes_too_long_at_the_end_is_no_evidence(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inhouse.gateway.shadow.DRAIN_S", 0.01)
    world = make()
    deaf = world.models["embedded/new"]
    deaf.gate = asyncio.Event()

    async def until_asked() -> None:
        await world.run()
        while not deaf.asked:
            await asyncio.sleep(0)

    world.play(until_asked)
    assert world.copies() == []
    world.play(world.run)
    assert len(deaf.asked) == 1, "nothing is copied any more"


def test_its_failures_open_no_breaker_of_others(make: Callable[..., World]) -> None:
    world = make()
    world.models["embedded/new"].said = BackendError("down", code="upstream-status")

    async def calls() -> None:
        for number in range(8):
            await world.run(f"text {number}")
            while len(world.models["embedded/new"].asked) <= number:
                await asyncio.sleep(0)

    world.play(calls)
    assert [one.error_code for one in world.copies()] == ["upstream-status"] * 8

    async def pinned() -> Outcome:
        world.models["embedded/new"].said = "negative"
        return await world.run(model="embedded/new")

    assert world.play(pinned).model_version == "embedded/new"
