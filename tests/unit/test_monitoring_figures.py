"""Figures by model, readiness, and what own models saved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from inhouse.core.errors import Invalid
from inhouse.core.ids import new_id
from inhouse.core.states import VersionStatus
from inhouse.db.unit import Database, WriteUnit
from inhouse.evaluation import records
from inhouse.evaluation.compare import Interval
from inhouse.evaluation.gate import Comparison, Verdict, VerdictKind
from inhouse.evaluation.measure import Answer, Result
from inhouse.feedback.submit import submit
from inhouse.gateway.breaker import BreakerState
from inhouse.gateway.breakers import Breakers
from inhouse.interactions.record import InteractionRecord, insert
from inhouse.monitoring import figures as counting
from inhouse.monitoring.figures import TaskFigures, figures
from inhouse.monitoring.overview import Period, hours_of
from inhouse.monitoring.queries import Window
from inhouse.monitoring.readiness import Readiness, readiness
from inhouse.monitoring.readiness_lines import State
from inhouse.monitoring.savings import Basis, Saving, savings
from inhouse.registry import move, versions
from inhouse.rollout.plan import Plan
from inhouse.settings import UpstreamSettings
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock
from inhouse.testing.versions import add_version

SPEC = TaskSpec(
    name="mood",
    kind=TaskKind.CHOICE,
    description="",
    labels=("bad", "good"),
    prompt="{{ input }}",
    chain=("up/large", "up/small"),
)
PRICED = UpstreamSettings.model_validate(
    {
        "base_url": "http://up/v1",
        "prices": {
            "large": {"input_per_million": 2.0, "output_per_million": 10.0},
            "free": {"input_per_million": 0.0},
        },
    }
)


def _calls(unit: WriteUnit, clock: FrozenClock, count: int, **values: Any) -> list[str]:
    fields: dict[str, Any] = {
        "created_at": clock.now(),
        "status": "answered",
        "input": "x",
        "output": {"label": "good"},
        "latency_ms": 10.0,
        "task": "mood",
        "task_revision": SPEC.revision,
        "reference": "up/large",
        "hosting": "external",
        "arm": "incumbent",
        **values,
    }
    made = [InteractionRecord(id=new_id(), **fields) for _ in range(count)]
    insert(unit, made)
    return [record.id for record in made]


def _rescued(by: str, asked: str) -> dict[str, Any]:
    tries = [
        {"reference": asked, "ok": False, "code": "timeout", "latency_ms": 1.0},
        {"reference": by, "ok": True, "code": None, "latency_ms": 1.0},
    ]
    return {"attempts": tries, "rescued": True, "reference": by}


def _say(unit: WriteUnit, clock: FrozenClock, ids: list[str], kind: str, value: str) -> None:
    for call in ids:
        submit(
            unit,
            interaction_id=call,
            kind=kind,
            value=value,
            author="desk",
            idempotency_key=None,
            at=clock.now(),
            catalog=Catalog([SPEC]),
        )


def _figures(database: Database, clock: FrozenClock) -> TaskFigures:
    with database.read() as unit:
        return figures(unit, SPEC, hours_of(Period.WEEK, clock.now()))


OWN: dict[str, Any] = {"reference": "mood@1", "hosting": "own", "latency_ms": 2.0}


def test_what_each_model_came_to(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        general = _calls(unit, clock, 6, cost=0.5)
        own = _calls(unit, clock, 9, **OWN)
        _calls(unit, clock, 1, **{**OWN, "latency_ms": 500.0})
        saved = _calls(unit, clock, 2, **_rescued("up/large", "mood@1"))
        failed = [{"reference": "mood@1", "ok": False, "code": "x", "latency_ms": 1.0}]
        lost = {"status": "failed", "reference": None, "hosting": None, "output": None}
        dead = _calls(unit, clock, 1, attempts=failed, **lost)
        _calls(unit, clock, 5, arm="forced")
        _calls(unit, clock, 5, arm="shadow", **OWN)
        _calls(unit, clock, 3, task="other")
        clock.advance(60)
        _say(unit, clock, [*own[:3], *saved[:1], *dead], "outcome", "good")
        _say(unit, clock, own[3:4], "outcome", "bad")
        _say(unit, clock, general[:2], "correction", "bad")
        clock.advance(60)
        _say(unit, clock, general[1:2], "correction", "good")
    found = _figures(database, clock)
    assert (found.total.calls, found.total.answered) == (19, 18)
    assert (found.looked_at, found.is_complete) == (29, True)
    mine, upstream = (
        next(one for one in found.models if one.reference == name)
        for name in ("mood@1", "up/large")
    )
    assert (mine.traffic.calls, mine.share) == (10, pytest.approx(10 / 18))
    assert mine.success is not None
    assert (mine.success.calls, mine.success.good) == (13, 10)
    assert mine.outcomes is not None
    assert (mine.outcomes.items, mine.outcomes.mean) == (6, pytest.approx(3 / 6))
    assert mine.corrections is None
    assert mine.traffic.p50_ms == pytest.approx(2.0, rel=0.12)
    assert mine.traffic.p99_ms == pytest.approx(500.0, rel=0.12)
    assert upstream.success is not None
    assert (upstream.success.calls, upstream.success.share) == (6, 1.0)
    assert upstream.corrections is not None
    assert (upstream.corrections.items, upstream.corrections.mean) == (2, 0.5)
    assert upstream.cost_per_call == pytest.approx(3.0 / 8)


def test_a_model_that_never_answered_has_figures_too(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    asked = [{"reference": "mood@9", "ok": False, "code": "x", "latency_ms": 1.0}]
    nobody = {"status": "failed", "reference": None, "hosting": None, "output": None}
    with sqlite_database.write() as unit:
        _register(unit, clock)
        _calls(unit, clock, 4, **_rescued("up/large", "mood@1"))
        _calls(unit, clock, 9, **nobody, attempts=asked, latency_ms=5_000.0)
    found = {one.reference: one for one in _figures(sqlite_database, clock).models}
    assert [*found] == ["up/large", "mood@1"]
    assert _figures(sqlite_database, clock).total.p50_ms == pytest.approx(10.0, rel=0.12)
    assert found["mood@1"].traffic.calls == 0
    assert found["mood@1"].cost_per_call is None
    assert found["mood@1"].success is not None
    assert found["mood@1"].success.share == 0.0
    assert found["up/large"].success is None


def test_success_is_told_of_the_newest_calls(
    sqlite_database: Database, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "NEWEST_CALLS", 10)
    with sqlite_database.write() as unit:
        _calls(unit, clock, 20, **_rescued("up/small", "up/large"))
        clock.advance(1)
        _calls(unit, clock, 10)
    found = _figures(sqlite_database, clock)
    assert (found.looked_at, found.is_complete) == (10, False)
    success = next(one for one in found.models if one.reference == "up/large").success
    assert success is not None
    assert (success.calls, success.good) == (10, 10)
    assert found.total.calls == 30


def test_nothing_to_tell(sqlite_database: Database, clock: FrozenClock) -> None:
    assert _figures(sqlite_database, clock).models == []
    with sqlite_database.read() as unit, pytest.raises(Invalid):
        figures(unit, SPEC, Window(since=clock.now(), until=clock.now()))


def _register(unit: WriteUnit, clock: FrozenClock) -> versions.Version:
    return add_version(unit, SPEC, clock.now())


def _evaluate(
    unit: WriteUnit, clock: FrozenClock, version: versions.Version, low: float, kind: VerdictKind
) -> None:
    begun = records.begin(
        unit,
        task="mood",
        task_revision=SPEC.revision,
        candidate=version.reference,
        version_id=version.id,
        snapshot_id=new_id(),
        settings={"gate": {"margin": 0.02}},
        at=clock.now(),
    )
    result = Result(
        reference=version.reference,
        role="candidate",
        about="",
        answers=tuple(Answer(output={"label": "bad"} if n else None) for n in range(100)),
        scores=(1.0,) * 100,
        figures={"score": Interval(0.9, 0.8, 0.95)},
        latency={"p50_ms": Interval(2.0, 2.0, 2.0), "p95_ms": Interval(4.0, 4.0, 4.0)},
    )
    met = Comparison(
        other="up/large",
        role="general",
        difference=Interval(0.01, low, 0.03),
        mcnemar_p=None,
        ece_difference=None,
    )
    records.finish(
        unit,
        begun.id,
        results=[result],
        comparisons=[met, replace(met, other="majority", role="floor")],
        verdict=Verdict(kind=kind, reasons=("because",)),
        at=clock.now(),
    )


def _ready(database: Database, clock: FrozenClock, **more: Any) -> Readiness:
    with database.read() as unit:
        return readiness(unit, SPEC, Plan(), clock=clock, **more)


def _states(found: Readiness) -> dict[str, str]:
    return {line.name: line.state.value for line in found.lines}


def test_readiness_of_a_task_without_an_own_model(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        calls = _calls(unit, clock, 120)
        _say(unit, clock, calls[:100], "correction", "bad")
        rejected = _register(unit, clock)
        versions.set_status(
            unit, rejected.id, VersionStatus.REJECTED, by="gate", why="", at=clock.now()
        )
    clock.advance(60)
    found = _ready(database, clock)
    assert _states(found) == {"own model": "not yet", "volume": "not yet", "labels": "ok"}
    assert (found.state, found.reference) == (State.NOT_YET, None)
    volume = found.lines[1]
    assert volume.value == pytest.approx(120 / 7, rel=0.2)
    assert volume.bar == pytest.approx(1589 / 30, rel=0.01)
    assert all(line.next for line in found.lines if line.state is not State.OK)


def test_readiness_follows_the_evidence(sqlite_database: Database, clock: FrozenClock) -> None:
    database = sqlite_database
    with database.write() as unit:
        calls = _calls(unit, clock, 600)
        _say(unit, clock, calls[:100], "outcome", "good")
        version = _register(unit, clock)
    clock.advance(60)
    found = _ready(database, clock)
    asked = ("success", "latency", "score", "gate", "drift", "circuit")
    assert {name: _states(found)[name] for name in asked} == dict.fromkeys(asked, "unknown")
    assert found.state is State.UNKNOWN
    with database.write() as unit:
        _evaluate(unit, clock, version, -0.03, VerdictKind.INCONCLUSIVE)
    clock.advance(60)
    found = _ready(database, clock, breakers=[])
    lines = {line.name: line for line in found.lines}
    assert (lines["success"].value, lines["success"].state) == (pytest.approx(0.99), State.OK)
    assert "100 test examples" in lines["success"].words
    assert (lines["latency"].value, lines["latency"].state) == (pytest.approx(0.004), State.OK)
    assert (lines["score"].state, lines["gate"].state) == (State.NOT_YET, State.NOT_YET)
    assert lines["circuit"].state is State.OK
    with database.write() as unit:
        _evaluate(unit, clock, version, -0.01, VerdictKind.PASS)
        _calls(unit, clock, 30, **{**OWN, "latency_ms": 5000.0})
        move.set_weight(
            unit, SPEC, candidate="mood@1", percent=25, actor="a", reason="b", at=clock.now()
        )
    clock.advance(60)
    breakers = Breakers(clock=clock, jitter=lambda: 0.0, failures=1, open_s=60.0)
    view = replace(breakers.of("mood@1").view(0.0), state=BreakerState.OPEN)
    found = _ready(database, clock, breakers=[view])
    lines = {line.name: line for line in found.lines}
    assert (lines["score"].state, lines["gate"].state) == (State.OK, State.OK)
    assert lines["latency"].state is State.NOT_YET
    assert lines["circuit"].state is State.NOT_YET
    assert (found.reference, found.answers_percent) == ("mood@1", 25.0)


def _saved(database: Database, clock: FrozenClock, spec: TaskSpec = SPEC) -> Saving:
    clock.advance(60)
    window = hours_of(Period.WEEK, clock.now())
    with database.read() as unit:
        [found] = savings(unit, window, [spec], {"up": PRICED}).tasks
    return found


def test_what_was_recorded_is_the_price_of_a_call(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        _calls(unit, clock, 10, input_tokens=100, output_tokens=10)
        clock.advance(40 * 86_400)
        _calls(unit, clock, 10, cost=0.03)
        _calls(unit, clock, 3, reference="up/small", cost=9.0)
        clock.advance(20 * 86_400)
        _calls(unit, clock, 50, cost=0.001, **OWN)
    one = _saved(database, clock)
    assert (one.upstream, one.basis, one.calls) == ("up/large", Basis.RECORDED, 50)
    assert one.per_call == pytest.approx(0.03)
    assert one.saved == pytest.approx(50 * 0.03 - 0.05)


@pytest.mark.parametrize(
    ("asked", "chain", "basis", "per_call"),
    [
        ({"input_tokens": 100, "output_tokens": 10}, SPEC.chain, Basis.DECLARED, 300e-6),
        ({"reference": "up/free"}, SPEC.chain, Basis.DECLARED, 0.0),
        ({"reference": "up/unpriced"}, SPEC.chain, Basis.UNKNOWN, None),
        ({"reference": "gone/away"}, SPEC.chain, Basis.UNKNOWN, None),
        ({"reference": "embedded/base", "hosting": "local"}, SPEC.chain, Basis.NONE, None),
        (None, SPEC.chain, Basis.TOKENS, 80e-6),
        (None, (), Basis.UNKNOWN, None),
    ],
)
def test_a_price_that_is_not_known_is_not_nothing(
    sqlite_database: Database,
    clock: FrozenClock,
    asked: dict[str, Any] | None,
    chain: tuple[str, ...],
    basis: Basis,
    per_call: float | None,
) -> None:
    with sqlite_database.write() as unit:
        if asked is not None:
            _calls(unit, clock, 4, **asked)
        _calls(unit, clock, 5, input_tokens=40, **OWN)
    one = _saved(sqlite_database, clock, replace(SPEC, chain=chain))
    assert (one.basis, one.calls) == (basis, 5)
    assert one.per_call == (None if per_call is None else pytest.approx(per_call))
    assert (one.saved is None) == (per_call is None)


def test_savings_are_summed_where_they_are_known(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    with sqlite_database.write() as unit:
        _calls(unit, clock, 2, cost=0.5)
        _calls(unit, clock, 4, **OWN)
        _calls(unit, clock, 4, task="other", **OWN)
        _calls(unit, clock, 4, task="third")
    clock.advance(60)
    with sqlite_database.read() as unit:
        found = savings(unit, hours_of(Period.DAY, clock.now()), [SPEC], {})
        clock.advance(9 * 86_400)
        nothing = savings(unit, hours_of(Period.DAY, clock.now()), [SPEC], {})
    assert [one.task for one in found.tasks] == ["mood", "other"]
    assert (found.saved, found.unknown) == (pytest.approx(2.0), ("other",))
    assert (nothing.tasks, nothing.saved) == ((), None)
