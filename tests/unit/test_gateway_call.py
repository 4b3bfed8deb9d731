"""One call through the gateway, with a real database behind the recorder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import structs

from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError, Invalid, NotFound, Unavailable
from inhouse.core.ids import KeyId, new_id
from inhouse.db.unit import Database
from inhouse.gateway.entry import Call, Outcome
from inhouse.gateway.keys import Key, Role
from inhouse.gateway.table import RouteTable
from inhouse.inference.base import Hosting, Question, Reply, Usage
from inhouse.interactions.pseudonym import pseudonym
from inhouse.interactions.record import InteractionRecord, Recorder
from inhouse.interactions.search import get, search
from inhouse.registry import routes
from inhouse.testing.gateway import mood_catalog, wire_gateway

SALT = b"0123456789abcdef"
KEY = Key(
    id=KeyId("k1"),
    name="news",
    role=Role.APPLICATION,
    created_at=datetime(2026, 11, 1, tzinfo=UTC),
    revoked_at=None,
)
Step = Reply | BaseException | str


class FakeBackend:
    """Answers what its script says, step by step; the last step repeats."""

    def __init__(self, reference: str, *steps: Step, price: float = 0.0) -> None:
        self.reference = reference
        self.hosting = Hosting.OWN if "@" in reference else Hosting.LOCAL
        self.questions: list[Question] = []
        self.asked = asyncio.Event()
        self._steps = list(steps)
        self._price = price

    def price(self, usage: Usage) -> float:
        return self._price * (usage.input_tokens + usage.output_tokens)

    async def answer(self, question: Question) -> Reply:
        self.questions.append(question)
        self.asked.set()
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        if isinstance(step, BaseException):
            raise step
        if step == "hang":
            await asyncio.Event().wait()
        if isinstance(step, str):
            return Reply(content=step, usage=Usage(input_tokens=10, output_tokens=2))
        return step

    async def close(self) -> None:
        return None


class World:
    """A gateway over fakes for backends, and nothing else faked."""

    def __init__(self, database: Database, **task: Any) -> None:
        self.database = database
        self.catalog = mood_catalog(**{"timeout_s": 5.0, **task})
        self.routes = RouteTable(database, self.catalog, warm=str)
        self.recorder = Recorder(database, clock=SystemClock())
        self.recorder.start()
        self.backends: dict[str, FakeBackend] = {}
        self.forced: dict[str, str] = {}
        self.gateway = wire_gateway(
            database,
            catalog=self.catalog,
            routes=self.routes,
            resolve=self.resolve,
            recorder=self.recorder,
            salt=SALT,
            forced=self.forced,
        )

    def resolve(self, reference: str) -> FakeBackend:
        if reference not in self.backends:
            raise NotFound(f"there is no {reference}", code="version-not-found")
        return self.backends[reference]

    def add(self, reference: str, *steps: Step, price: float = 0.0) -> FakeBackend:
        self.backends[reference] = FakeBackend(reference, *steps, price=price)
        return self.backends[reference]

    def move(self, **changes: Any) -> None:
        """Append a revision to the route of the task."""
        spec = self.catalog.get("mood")
        clock = SystemClock()
        with self.database.write() as unit:
            seen = routes.current(unit, "mood") or routes.implicit("mood", spec.chain)
            routes.append(unit, replace(seen, **changes), expect=seen.revision, at=clock.now())
        self.routes.refresh()

    def run(self, text: str = "Profits doubled.", **fields: Any) -> Outcome:
        return asyncio.run(self.gateway.run(self.call(text, **fields)))

    def call(self, text: str = "Profits doubled.", **fields: Any) -> Call:
        fields.setdefault("interaction_id", new_id())
        return Call(task="mood", text=text, **fields)

    def recorded(self) -> list[InteractionRecord]:
        """Everything recorded, oldest first."""
        self.recorder.flush()
        with self.database.read() as unit:
            return search(unit)[::-1]


@pytest.fixture
def make(sqlite_database: Database) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def build(**task: Any) -> World:
        made.append(World(sqlite_database, **task))
        return made[-1]

    yield build
    for world in made:
        world.recorder.stop()


def test_an_answer_is_parsed_priced_and_recorded(make: Callable[..., World]) -> None:
    world = make()
    backend = world.add("embedded/a", " Positive.\n", price=0.5)
    given = world.call(unit="doc-1", subject="ann", tags={"app": "news"}, key=KEY)
    outcome = asyncio.run(world.gateway.run(given))
    assert outcome.output == {"label": "positive"}
    assert (outcome.model_version, outcome.arm, outcome.flagged) == (
        "embedded/a",
        "incumbent",
        False,
    )
    assert outcome.usage == Usage(input_tokens=10, output_tokens=2)
    assert outcome.cost == 6.0
    (row,) = world.recorded()
    spec = world.catalog.get("mood")
    assert row.id == outcome.interaction_id == given.interaction_id
    assert (row.task, row.task_revision, row.status) == ("mood", spec.revision, "answered")
    assert (row.input, row.raw, row.output) == (given.text, " Positive.\n", {"label": "positive"})
    assert (row.reference, row.hosting, row.rescued) == ("embedded/a", "local", False)
    assert row.unit == pseudonym(SALT, "doc-1")
    assert row.subject == pseudonym(SALT, "ann")
    assert (row.tags, row.key_id, row.cost) == ({"app": "news"}, "k1", 6.0)
    assert (row.route_revision, row.weight_bp, row.error_code) == (0, 0, None)
    assert [one["ok"] for one in row.attempts] == [True]
    assert given.text in backend.questions[0].messages[0].content


def test_the_unit_is_the_call_itself_unless_given(make: Callable[..., World]) -> None:
    world = make()
    world.add("embedded/a", "neutral")
    world.run()
    (row,) = world.recorded()
    assert row.unit == pseudonym(SALT, row.id)
    assert row.subject is None


def test_a_typed_output_is_checked_and_keeps_its_probabilities(make: Callable[..., World]) -> None:
    world = make()
    probabilities = {"negative": 0.1, "neutral": 0.2, "positive": 0.7}
    world.add("embedded/a", Reply(output={"label": "positive"}, probabilities=probabilities))
    outcome = world.run()
    assert outcome.probabilities == probabilities
    (row,) = world.recorded()
    assert (row.probabilities, row.raw) == (probabilities, None)


def test_an_invalid_typed_output_fails_that_backend(make: Callable[..., World]) -> None:
    world = make()
    world.add("embedded/a", Reply(output={"label": "purple"}))
    world.add("embedded/b", "neutral")
    assert world.run().model_version == "embedded/b"
    assert world.recorded()[0].attempts[0]["code"] == "unparsable"


def test_a_bad_answer_is_repaired_once_by_the_same_backend(make: Callable[..., World]) -> None:
    world = make()
    backend = world.add("embedded/a", "Who knows?", "negative")
    outcome = world.run()
    assert outcome.output == {"label": "negative"}
    assert outcome.usage == Usage(input_tokens=20, output_tokens=4)
    first, repair = backend.questions
    assert repair.messages[:1] == first.messages
    assert [one.role for one in repair.messages] == ["user", "assistant", "user"]
    assert repair.messages[1].content == "Who knows?"
    assert "positive" in repair.messages[2].content
    (row,) = world.recorded()
    assert (row.raw, row.rescued, len(row.attempts)) == ("negative", False, 1)


def test_what_stays_unreadable_is_a_failure_of_that_backend(make: Callable[..., World]) -> None:
    world = make()
    world.add("embedded/a", "Who knows?", price=1.0)
    world.add("embedded/b", "negative")
    outcome = world.run()
    assert (outcome.model_version, outcome.cost) == ("embedded/b", 24.0)
    (row,) = world.recorded()
    assert row.rescued is True
    assert [one["code"] for one in row.attempts] == ["unparsable", None]
    assert len(world.backends["embedded/a"].questions) == 2


def test_a_repair_that_breaks_off_is_unreadable_too(make: Callable[..., World]) -> None:
    world = make()
    busy = BackendError("busy", code="busy", retryable=True)
    world.add("embedded/a", "Who knows?", busy)
    world.add("embedded/b", "negative")
    world.run()
    assert [one["code"] for one in world.recorded()[0].attempts] == ["unparsable", None]


def test_a_rescue_is_a_failure_of_the_arm_assigned(make: Callable[..., World]) -> None:
    world = make()
    world.add("mood@1", BackendError("gone", code="gone"))
    world.add("embedded/a", "positive")
    world.move(candidate="mood@1", weight_bp=10_000)
    outcome = world.run()
    assert (outcome.arm, outcome.model_version, outcome.route_revision) == (
        "candidate",
        "embedded/a",
        1,
    )
    (row,) = world.recorded()
    assert (row.arm, row.rescued, row.weight_bp) == ("candidate", True, 10_000)


def test_a_new_revision_is_followed_by_the_next_call(make: Callable[..., World]) -> None:
    world = make()
    world.add("mood@1", "positive")
    world.add("embedded/a", "negative")
    assert world.run().output == {"label": "negative"}
    world.move(candidate="mood@1", weight_bp=10_000)
    assert world.run().output == {"label": "positive"}
    world.move(weight_bp=0)
    assert world.run().output == {"label": "negative"}


def test_forced_and_pinned_calls_never_fall_back(make: Callable[..., World]) -> None:
    world = make()
    world.add("embedded/a", BackendError("gone", code="gone"))
    world.add("embedded/b", "positive")
    with pytest.raises(Unavailable) as caught:
        world.run(model="embedded/a")
    assert caught.value.code == "no-backend"
    world.forced["mood"] = "embedded/a"
    with pytest.raises(Unavailable, match="embedded/a: gone"):
        world.run(model="embedded/b")
    rows = world.recorded()
    assert [row.arm for row in rows] == ["pinned", "forced"]
    assert world.backends["embedded/b"].questions == []


@pytest.mark.parametrize("model", ["other@1", "task:mood", "nonsense"])
def test_a_pin_that_cannot_answer_is_refused_before_anything(
    make: Callable[..., World], model: str
) -> None:
    world = make()
    with pytest.raises(Invalid) as caught:
        world.run(model=model)
    assert caught.value.code == "reference"
    assert world.recorded() == []


def test_a_pin_to_nothing_says_so_even_where_failures_are_flagged(
    make: Callable[..., World],
) -> None:
    world = make(on_failure={"value": "neutral"})
    with pytest.raises(NotFound):
        world.run(model="mood@7")
    (row,) = world.recorded()
    assert (row.status, row.error_code) == ("failed", "version-not-found")


def test_when_all_fail_the_error_names_every_try(make: Callable[..., World]) -> None:
    world = make()
    world.add("embedded/a", BackendError("gone", code="gone"))
    world.add("embedded/b", "Who knows?")
    with pytest.raises(Unavailable) as caught:
        world.run()
    assert caught.value.code == "no-backend"
    assert "embedded/a: gone, embedded/b: unparsable" in caught.value.message
    (row,) = world.recorded()
    assert (row.status, row.error_code, row.output) == ("failed", "no-backend", None)
    assert (row.reference, row.hosting, row.raw) == (None, None, "Who knows?")


def test_when_all_fail_a_declared_value_is_given_and_flagged(make: Callable[..., World]) -> None:
    world = make(on_failure={"value": "neutral"})
    world.add("embedded/a", BackendError("gone", code="gone"))
    outcome = world.run()
    assert outcome.output == {"label": "neutral"}
    assert (outcome.flagged, outcome.model_version) == (True, "")
    (row,) = world.recorded()
    assert (row.status, row.error_code, row.reference) == ("flagged", "no-backend", None)
    assert [one["code"] for one in row.attempts] == ["gone", "version-not-found"]


def test_a_request_at_fault_is_said_in_the_upstreams_words(make: Callable[..., World]) -> None:
    world = make()
    fatal = BackendError("too large", code="upstream-status", fatal=True, upstream_status=413)
    world.add("embedded/a", fatal)
    other = world.add("embedded/b", "positive")
    with pytest.raises(BackendError) as caught:
        world.run()
    assert caught.value is fatal
    assert other.questions == []
    assert world.recorded()[0].error_code == "upstream-status"


def test_the_deadline_is_recorded_as_what_it_is(make: Callable[..., World]) -> None:
    world = make(timeout_s=0.1, chain=["embedded/a"])
    world.add("embedded/a", "hang")
    with pytest.raises(Unavailable, match="embedded/a: timeout"):
        world.run()
    (row,) = world.recorded()
    assert (row.status, row.error_code) == ("failed", "no-backend")
    assert 90 <= row.latency_ms < 2_000


def test_a_client_that_hangs_up_is_recorded(make: Callable[..., World]) -> None:
    world = make()
    backend = world.add("embedded/a", "hang")

    async def hang_up() -> None:
        task = asyncio.create_task(world.gateway.run(world.call()))
        await backend.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(hang_up())
    (row,) = world.recorded()
    assert (row.status, row.error_code) == ("cancelled", "cancelled")
    assert row.attempts[0]["code"] == "cancelled"


def test_a_bug_is_recorded_and_raised(make: Callable[..., World]) -> None:
    world = make()
    world.add("embedded/a", ZeroDivisionError("bug"))
    with pytest.raises(ZeroDivisionError):
        world.run()
    (row,) = world.recorded()
    assert (row.status, row.error_code) == ("failed", "internal")


def test_what_is_recorded_is_what_was_sent(make: Callable[..., World]) -> None:
    world = make(max_input_tokens=16, on_long="head")
    backend = world.add("embedded/a", "positive")
    world.run("word " * 40)
    (row,) = world.recorded()
    assert row.input == backend.questions[0].text == ("word " * 16).strip()


def test_an_input_that_is_refused_asks_nobody(make: Callable[..., World]) -> None:
    world = make(max_input_tokens=16, on_long="refuse")
    backend = world.add("embedded/a", "positive")
    with pytest.raises(Invalid) as caught:
        world.run("word " * 40)
    assert caught.value.code == "input-too-long"
    assert backend.questions == []


def test_an_unknown_task_is_not_found(make: Callable[..., World]) -> None:
    world = make()
    with pytest.raises(NotFound) as caught:
        asyncio.run(world.gateway.run(structs.replace(world.call(), task="nothing")))
    assert caught.value.code == "task-not-found"


def test_a_call_that_cannot_be_recorded_is_refused_before_it_costs(
    make: Callable[..., World],
) -> None:
    world = make()
    backend = world.add("embedded/a", "positive")
    world.recorder.stop()
    with pytest.raises(Unavailable) as caught:
        world.run()
    assert caught.value.code == "record-failed"
    assert backend.questions == []


def test_many_calls_at_once_are_each_recorded_once(make: Callable[..., World]) -> None:
    world = make()
    world.add("embedded/a", "positive")

    async def burst() -> list[Outcome]:
        return await asyncio.gather(*(world.gateway.run(world.call()) for _ in range(300)))

    outcomes = asyncio.run(burst())
    world.recorder.flush()
    with world.database.read() as unit:
        for outcome in outcomes:
            assert get(unit, outcome.interaction_id).latency_ms == outcome.latency_ms
        assert len(search(unit, limit=1000)) == 300


def test_identical_calls_at_once_are_asked_and_counted_once(make: Callable[..., World]) -> None:
    world = make(coalesce=True)
    backend = world.add("embedded/a", "positive")

    async def burst() -> list[Outcome]:
        same = [world.gateway.run(world.call()) for _ in range(5)]
        other = [world.gateway.run(world.call("Losses doubled."))]
        tagged = [world.gateway.run(world.call(tags={"app": "news"}))]
        return await asyncio.gather(*same, *other, *tagged)

    outcomes = asyncio.run(burst())
    assert len({one.interaction_id for one in outcomes[:5]}) == 1
    assert len({one.interaction_id for one in outcomes}) == 3
    assert len(backend.questions) == len(world.recorded()) == 3


def test_the_error_of_identical_calls_names_the_one_that_is_recorded(
    make: Callable[..., World],
) -> None:
    world = make(coalesce=True)
    world.add("embedded/a", BackendError("broken", code="engine-failed"))

    async def burst() -> list[Any]:
        same = (world.gateway.run(world.call()) for _ in range(3))
        return await asyncio.gather(*same, return_exceptions=True)

    errors = asyncio.run(burst())
    (row,) = world.recorded()
    assert [error.interaction_id for error in errors] == [row.id] * 3


def test_calls_are_not_joined_unless_the_task_allows_it(make: Callable[..., World]) -> None:
    world = make()
    backend = world.add("embedded/a", "positive")

    async def burst() -> list[Outcome]:
        return await asyncio.gather(*(world.gateway.run(world.call()) for _ in range(3)))

    assert len({one.interaction_id for one in asyncio.run(burst())}) == 3
    assert len(backend.questions) == 3


def test_a_text_task_answers_with_what_the_model_says(make: Callable[..., World]) -> None:
    world = make(builtin=None, kind="text", prompt="Sum up: {{ input }}")
    backend = world.add("embedded/a", " Profits are up.\n")
    outcome = world.run()
    assert outcome.output == {"text": " Profits are up.\n"}
    assert backend.questions[0].messages[0].content == "Sum up: Profits doubled."


def test_a_text_task_without_a_prompt_asks_the_text_itself(make: Callable[..., World]) -> None:
    world = make(builtin=None, kind="text")
    backend = world.add("embedded/a", "Indeed.")
    world.run()
    assert backend.questions[0].messages[0].content == "Profits doubled."


def test_quotes_are_located_and_repaired_once(make: Callable[..., World]) -> None:
    task = {"builtin": None, "kind": "spans", "labels": ("PERSON",), "prompt": "{{ input }}"}
    world = make(**task, chain=["embedded/a"])
    wrong, right = '{"PERSON": ["Grace"]}', '{"PERSON": ["Ada"]}'
    backend = world.add("embedded/a", wrong, right, wrong)
    ada = {"start": 4, "end": 7, "label": "PERSON", "text": "Ada"}
    assert world.run("Hi, Ada").output == {"spans": [ada]}
    assert "'Grace' is not in the text" in backend.questions[1].messages[-1].content
    with pytest.raises(Unavailable):
        world.run("Hi, Ada")
    assert len(backend.questions) == 4
    assert [record.output for record in world.recorded()] == [{"spans": [ada]}, None]
