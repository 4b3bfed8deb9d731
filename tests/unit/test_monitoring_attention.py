"""What needs somebody, from the database and from the process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from inhouse.core.errors import BackendError
from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.gateway import keys
from inhouse.gateway.breakers import Breakers
from inhouse.gateway.limits.budget import Ceilings
from inhouse.gateway.limits.report import Holder
from inhouse.interactions.record import InteractionRecord, Recorder
from inhouse.interactions.record import insert as record
from inhouse.jobs import queue
from inhouse.monitoring import attention
from inhouse.monitoring import attention_stored as stored
from inhouse.monitoring.attention import Server
from inhouse.monitoring.concern import Code, Concern, Level
from inhouse.monitoring.tables import Drift
from inhouse.registry import routes
from inhouse.rollout import experiments, records, steer
from inhouse.rollout.controller import Controller
from inhouse.rollout.experiment_records import ExperimentRecord
from inhouse.rollout.findings import Question
from inhouse.rollout.metrics import CERTIFIED_LOSS, EVIDENCE, STATE, WEIGHT, observe
from inhouse.rollout.plan import FULL_BP, Metric, Plan
from inhouse.rollout.records import RolloutRecord
from inhouse.rollout.tables import RolloutDecision
from inhouse.rollout.trial import Measure
from inhouse.settings import LimitSettings
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock
from inhouse.testing.traffic import Traffic

SPEC = TaskSpec(
    name="tone",
    kind=TaskKind.CHOICE,
    description="",
    labels=("good", "bad"),
    prompt="{{ input }}",
    chain=("up/a", "up/b"),
)


def plan(**more: object) -> Plan:
    fields = {"dwell_s": 0.0, "min_success": None, "max_p95_s": None, "first_outcomes": 20}
    fields |= {"steps_bp": (5000, FULL_BP), "margin": 0.2, "guardrails": (Metric.SUCCESS,)}
    return Plan(**{**fields, **more})  # type: ignore[arg-type]


@pytest.fixture
def server(sqlite_database: Database, clock: FrozenClock, tmp_path: Path) -> Server:
    return Server(
        breakers=Breakers(clock=clock, jitter=lambda: 0.0, failures=1, open_s=60.0),
        store=ModelStore(tmp_path / "store", clock),
        recorder=Recorder(sqlite_database, clock=clock),
        settings_error="",
        routes={"tone": routes.implicit("tone", SPEC.chain)},
    )


Look = Callable[[], list[Concern]]


@pytest.fixture
def look(sqlite_database: Database, clock: FrozenClock, server: Server) -> Look:
    def make() -> list[Concern]:
        with sqlite_database.read() as unit:
            return attention.concerns(unit, server, [], now=clock.now())

    return make


def begin(database: Database, clock: FrozenClock, **more: object) -> RolloutRecord:
    with database.write() as unit:
        return steer.start(
            unit,
            SPEC,
            candidate="up/new",
            plan=plan(**more),
            actor="ada",
            reason="try it",
            at=clock.now(),
        )


def step(database: Database, clock: FrozenClock) -> None:
    Controller(database, clock, Catalog([SPEC]), name="p1").tick()


def test_a_rollout_that_evidence_ended(
    sqlite_database: Database, clock: FrozenClock, look: Look
) -> None:
    begin(sqlite_database, clock)
    assert look() == []
    Traffic(sqlite_database, SPEC, clock).send(400, bad=(0.0, 0.9))
    step(sqlite_database, clock)
    (found,) = look()
    assert (found.code, found.about) == (Code.ROLLOUT_ROLLED_BACK, "tone")
    assert "worse than the incumbent" in found.text
    clock.advance(25 * 3600)
    assert look() == [], "it was news for a day"


def test_a_rollout_that_is_held(sqlite_database: Database, clock: FrozenClock, look: Look) -> None:
    rollout = begin(sqlite_database, clock, horizon=100, first_outcomes=1000)
    Traffic(sqlite_database, SPEC, clock).send(150)
    step(sqlite_database, clock)
    (found,) = look()
    assert (found.code, found.about) == (Code.ROLLOUT_HELD, "tone")
    assert "No verdict" in found.text
    clock.advance(40 * 86_400)
    assert len(look()) == 1, "it is still held"
    decision = table_of(RolloutDecision)
    with sqlite_database.write() as unit:
        unit.execute(
            update(decision).where(decision.c.number == 2).values(evidence={"mismatch": 1})
        )
    assert [one.code for one in look()] == [Code.SPLIT_MISMATCH]
    with sqlite_database.write() as unit:
        held = records.get(unit, rollout.id)
        steer.rollback(unit, SPEC, held, actor="ada", reason="no", at=clock.now())
    assert look() == [], "a person knows"


def test_a_rollout_whose_route_somebody_moved(
    sqlite_database: Database, clock: FrozenClock, look: Look
) -> None:
    begin(sqlite_database, clock)
    with sqlite_database.write() as unit:
        seen = routes.current(unit, "tone")
        assert seen is not None
        routes.append(unit, seen, expect=seen.revision, at=clock.now())
    step(sqlite_database, clock)
    (found,) = look()
    assert (found.code, "somebody moved" in found.text.lower()) == (Code.ROLLOUT_ABORTED, True)


def compare(database: Database, clock: FrozenClock, **more: object) -> ExperimentRecord:
    fields = {"weight_bp": 5000, "metric": Measure.SUCCESS, "horizon": 400, "looks": 2} | more
    asked = Question(task="tone", a="up/a", b="up/new", alpha=0.05, **fields)  # type: ignore[arg-type]
    said = {"actor": "ada", "reason": "try it"}
    with database.write() as unit:
        return experiments.start(unit, SPEC, asked, at=clock.now(), **said)


@pytest.mark.parametrize(
    ("bad", "days", "level", "title", "text"),
    [
        ((0.1, 0.1), 9.0, Level.INFO, "has ended", "No difference in success was shown"),
        ((0.1, 0.1), 1.0, Level.INFO, "ran out of time", "Its time limit of 1 day passed with 200"),
        ((0.0, 0.9), 9.0, Level.WARN, "was stopped", "B (up/new) is far worse than up/a"),
    ],
)
def test_an_experiment_that_ended_by_itself(
    sqlite_database: Database,
    clock: FrozenClock,
    look: Look,
    bad: tuple[float, float],
    days: float,
    level: Level,
    title: str,
    text: str,
) -> None:
    begun = compare(sqlite_database, clock, days=days)
    assert look() == []
    Traffic(sqlite_database, SPEC, clock).send(200, bad=bad)
    step(sqlite_database, clock)
    if bad == (0.1, 0.1):
        Traffic(sqlite_database, SPEC, clock, process="g2").send(0 if days == 1.0 else 200, bad=bad)
        clock.advance(86_400)
        step(sqlite_database, clock)
    (found,) = look()
    assert (found.code, found.about) == (Code.EXPERIMENT_ENDED, begun.id)
    assert (found.level, found.since) == (level, clock.now())
    assert found.title == f"The experiment of up/a and up/new {title}"
    assert found.text.startswith(text)
    clock.advance(86_400)
    assert look() == [], "it was news for a day"


def test_an_experiment_whose_route_somebody_moved(
    sqlite_database: Database, clock: FrozenClock, look: Look
) -> None:
    compare(sqlite_database, clock)
    with sqlite_database.write() as unit:
        seen = routes.current(unit, "tone")
        assert seen is not None
        routes.append(unit, seen, expect=seen.revision, at=clock.now())
    step(sqlite_database, clock)
    (found,) = look()
    assert (found.level, found.title) == (
        Level.WARN,
        "The experiment of up/a and up/new was ended",
    )


def test_an_experiment_that_a_person_stopped_is_no_news(
    sqlite_database: Database, clock: FrozenClock, look: Look
) -> None:
    begun = compare(sqlite_database, clock)
    with sqlite_database.write() as unit:
        experiments.stop(unit, SPEC, begun, actor="ada", reason="no", at=clock.now())
    assert look() == []


def test_a_job_that_failed_until_it_succeeds(
    sqlite_database: Database, clock: FrozenClock, look: Look
) -> None:
    def work(name: str, error: str = "") -> str:
        with sqlite_database.write() as unit:
            made = queue.enqueue(unit, name, {"x": 1}, at=clock.now())
            job = queue.claim(unit, [name], "w", at=clock.now())
            assert job is not None
            if error:
                queue.fail(unit, job, error, at=clock.now())
            else:
                queue.finish(unit, job, None, at=clock.now())
        clock.advance(1)
        return str(made.id)

    work("store.scrub")
    assert look() == []
    failed = work("store.scrub", "2 versions are damaged")
    work("training.run", "told as a training run")
    work("evaluation.run")
    (found,) = look()
    assert (found.code, found.about) == (Code.JOB_FAILED, failed)
    assert "2 versions are damaged. After 1 of 3 attempts" in found.text
    work("store.scrub", "still damaged")
    (found,) = look()
    assert (found.about, found.text[:14]) == (failed, "still damaged.")
    with sqlite_database.write() as unit:
        queue.retry(unit, failed, at=clock.now())
        job = queue.claim(unit, ["store.scrub"], "w", at=clock.now(), job_id=failed)
        assert job is not None
        queue.finish(unit, job, None, at=clock.now())
    assert look() == [], "the one that was told did succeed, behind all others"
    for _ in range(2):
        clock.advance(2 * 86_400)
        later = work("store.scrub", "damaged again")
        (found,) = look()
        assert found.about == later, "what failed days ago is another matter"


def test_budgets_of_the_day(sqlite_database: Database, clock: FrozenClock, server: Server) -> None:
    limits = LimitSettings(requests_per_day=10, warn_at=0.8)
    server = replace(server, limits=limits)
    with sqlite_database.write() as unit:
        own = LimitSettings(cost_per_day=1.0, on_limit="warn")
        key_id, _ = keys.create(unit, "shop", keys.Role.APPLICATION, clock.now(), own)

    def call(count: int) -> list[tuple[str, str, str]]:
        made = [
            InteractionRecord(
                id=new_id(),
                created_at=clock.now(),
                status="answered",
                input="x",
                latency_ms=1.0,
                key_id=key_id,
                cost=0.1,
            )
            for _ in range(count)
        ]
        with sqlite_database.write() as unit:
            record(unit, made)
        with sqlite_database.read() as unit:
            found = attention.concerns(unit, server, [], now=clock.now())
        return sorted((one.code.value, one.level.value, one.about) for one in found)

    key, ours = f"key {key_id} cost_per_day", "server server requests_per_day"
    assert call(7) == []
    assert call(1) == [("budget-near", "warn", key), ("budget-near", "warn", ours)]
    assert call(2) == [("budget-used", "bad", ours), ("budget-used", "warn", key)]
    clock.advance(86_400)
    assert call(1) == []


@pytest.mark.parametrize(
    ("scope", "name", "title", "effect"),
    [
        ("server", "server", "of the server is used up", "Calls are refused until 00:00 UTC."),
        ("key", "key", "of key key is used up", "Calls are refused until 00:00 UTC."),
        ("upstream", "up", "of upstream up is used up", "chains go on to their next model"),
    ],
)
def test_a_budget_says_whose_it_is_and_what_follows(
    scope: str, name: str, title: str, effect: str
) -> None:
    holder = Holder(scope, name, "", Ceilings(requests_per_day=10))
    found = stored._budget(holder, "requests_per_day", 10, 10)
    assert title in found.title
    assert effect in found.text


def test_drift_is_what_the_newest_look_says(
    sqlite_database: Database, clock: FrozenClock, server: Server
) -> None:
    begun = "the first 300 calls that up/a answered"
    beside = {"tone@1": "300 of its training examples", "up/a": begun}

    def measured(*references: str) -> None:
        clock.advance(60)
        with sqlite_database.write() as unit:
            for name, against in beside.items():
                row = {"task": "tone", "reference": name, "calls": 500, "inputs": 0.31}
                row |= {"detail": {"inputs": {"against": against}}, "outputs": None}
                row |= {"id": new_id(), "drifted": name in references, "created_at": clock.now()}
                unit.execute(insert(table_of(Drift)).values(row))

    def look(**route: object) -> list[str]:
        moved = replace(server.routes["tone"], **route)  # type: ignore[arg-type]
        with sqlite_database.read() as unit:
            told = attention.concerns(
                unit, replace(server, routes={"tone": moved}), [], now=clock.now()
            )
        assert {(one.code, one.about) for one in told} <= {(Code.DRIFT, "tone")}
        return [one.text for one in told]

    of_own = (
        "Of 500 calls, inputs are 0.31 away from 300 of its training examples. "
        "Corrections and a new training run help."
    )
    of_general = (
        f"Of 500 calls, inputs are 0.31 away from {begun}. "
        "Corrections show whether its answers are still right."
    )
    measured()
    assert look() == []
    measured("tone@1", "up/a")
    assert look() == [of_general]
    assert look(candidate="tone@1", weight_bp=FULL_BP) == [of_own]
    assert look(pin="tone@1") == [of_own]
    measured("tone@1")
    assert look() == look(candidate="tone@1") == []
    assert look(candidate="tone@1", weight_bp=100) == [of_own]


def test_a_chain_is_dead_when_all_of_it_is(clock: FrozenClock, server: Server, look: Look) -> None:
    def fail(reference: str) -> None:
        guard = server.breakers.of(reference)
        error = BackendError("no route to host", code="connect")
        guard.end(guard.start(clock.monotonic()), clock.monotonic(), 0.1, error)

    fail("up/a")
    fail("up/elsewhere")
    assert {one.code for one in look()} == {Code.BREAKER_OPEN}
    fail("up/b")
    dead = next(one for one in look() if one.code is Code.CHAIN_DEAD)
    assert (dead.about, dead.since) == ("tone", clock.now())
    assert "up/a, up/b" in dead.text
    server.breakers.reset("up/b")
    assert {one.code for one in look()} == {Code.BREAKER_OPEN}


def value(series: object, *labels: str) -> float:
    found = series.labels(*labels)._value.get()  # type: ignore[attr-defined]
    return float(found)


def test_series_of_a_rollout(sqlite_database: Database, clock: FrozenClock) -> None:
    begin(sqlite_database, clock)

    def look() -> None:
        with sqlite_database.read() as unit:
            observe(unit)

    look()
    assert (value(WEIGHT, "tone"), value(CERTIFIED_LOSS, "tone")) == (0.5, 1.0)
    assert value(STATE, "tone", "ramping") == 1
    Traffic(sqlite_database, SPEC, clock).send(400)
    step(sqlite_database, clock)
    look()
    assert value(STATE, "tone", "baking") == 1
    assert value(STATE, "tone", "ramping") == 0
    assert (value(WEIGHT, "tone"), value(CERTIFIED_LOSS, "tone")) == (0.95, 0.2)
    assert value(EVIDENCE, "tone", "harm") < 20 <= value(EVIDENCE, "tone", "certificate")
    with sqlite_database.write() as unit:
        rollout = records.open_of(unit, "tone")
        assert rollout is not None
        steer.rollback(unit, SPEC, rollout, actor="ada", reason="no", at=clock.now())
    look()
    assert [one.samples for one in WEIGHT.collect()] == [[]]
