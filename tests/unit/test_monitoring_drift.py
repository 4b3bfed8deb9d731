"""Drift: distances with bounded false alarms, samples of what is there, and what is kept."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import insert

from inhouse.automation import chores
from inhouse.core.errors import Unavailable
from inhouse.core.ids import new_id
from inhouse.datasets.tables import Snapshot, SnapshotExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database, WriteUnit
from inhouse.evaluation import records
from inhouse.evaluation.compare import Interval
from inhouse.evaluation.gate import Verdict, VerdictKind
from inhouse.evaluation.measure import Answer, Result
from inhouse.gateway.breakers import Breakers
from inhouse.interactions.record import InteractionRecord, Recorder
from inhouse.interactions.record import insert as record_calls
from inhouse.jobs import queue
from inhouse.jobs.handler import JobContext
from inhouse.monitoring import drift_records
from inhouse.monitoring.attention import Code, Server, concerns
from inhouse.monitoring.drift import DriftCheck
from inhouse.monitoring.drift_answers import answers
from inhouse.monitoring.drift_distance import (
    LEVEL,
    LOOKS,
    gap_chance,
    kinds,
    largest_gap,
    learn_words,
    learned,
    numbers,
    share_chance,
    texts,
    together,
)
from inhouse.registry import routes, versions
from inhouse.settings import Settings
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec, Unit
from inhouse.testing.clock import FrozenClock

SPEC = TaskSpec(
    name="tone",
    kind=TaskKind.CHOICE,
    description="",
    labels=("good", "bad"),
    prompt="{{ input }}",
    chain=("up/large",),
)
WORDS = [f"{a}{b}{c}" for a in "klmnprst" for b in "aeiou" for c in "bdfghjklmn"]


def _text(rng: Random, shift: int = 0) -> str:
    return " ".join(rng.choices(WORDS[shift : shift + 200], k=rng.randint(4, 20)))


def _no_encoder() -> Any:
    raise Unavailable("none", code="missing-extra")


def test_a_chance_is_not_exceeded_where_nothing_changed() -> None:
    """Over 300 pairs of samples from one source, so few chances lie below a level that the level
    is not refused (binomial, 0.1 %)."""
    rng = Random(20_260_101)
    below: Counter[str] = Counter()
    for _ in range(300):
        was, is_now = ([rng.gauss(0, 1) for _ in range(n)] for n in (120, 80))
        labels = [Counter(rng.choices("abcd", (8, 4, 2, 1), k=n)) for n in (120, 80)]
        ties = [[float(rng.randrange(3)) for _ in range(n)] for n in (120, 80)]
        sets = [[frozenset(rng.sample(WORDS[:60], 6)) for _ in range(n)] for n in (120, 104)]
        gaps = {
            "numbers": numbers("x", was, is_now),
            "ties": numbers("x", *ties),
            "kinds": kinds("x", *labels),
            "words": learned("x", *sets, learn_words),
        }
        for name, gap in gaps.items():
            assert gap is not None
            below[name] += gap.chance <= 0.05
    most = 15 + 3.1 * math.sqrt(300 * 0.05 * 0.95)
    assert all(count <= most for count in below.values()), below


def test_the_level_is_shared_by_looks_and_comparisons() -> None:
    same = [float(n) for n in range(100)]
    side = together([numbers("a", same, same), None, numbers("b", same, same)])
    assert side.level == pytest.approx(LEVEL / LOOKS / 2)
    assert (side.distance, side.drifted) == (0.0, ())
    assert together([None]).distance is None


def test_what_is_unlikely_and_small_is_no_drift_nor_what_is_large_and_likely() -> None:
    many = [float(n) for n in range(20_000)]
    small = together([numbers("x", many, [n + 1000 for n in many])])
    assert small.gaps[0].chance < 1e-6
    assert small.drifted == ()
    few = [float(n) for n in range(60)]
    likely = together([numbers("x", few, [n + 12 for n in few])])
    assert likely.gaps[0].distance == pytest.approx(0.2)
    assert likely.drifted == ()


def test_the_distances_are_those_of_the_books() -> None:
    assert largest_gap([1, 2, 3, 4], [3, 4, 5, 6]) == 0.5
    assert largest_gap([1.0] * 5, [1.0] * 9) == 0.0
    assert gap_chance(0.0, 9, 9) == 1.0
    assert gap_chance(0.3, 100, 100) == pytest.approx(2 * math.exp(-9))
    # Fisher's tea: 3 of 4 against 1 of 4 has a one-sided tail of 17 / 70
    assert share_chance(3, 4, 1, 4) == pytest.approx(2 * 17 / 70)
    apart = kinds("x", {"a": 60}, {"b": 60})
    assert apart is not None
    assert apart.distance == pytest.approx(1.0)
    nearly = kinds("x", {"a": 200, "b": 800}, {"a": 300, "b": 700})
    assert nearly is not None
    assert nearly.distance == pytest.approx(nearly.least, rel=0.05)
    assert kinds("x", {"a": 60}, {"a": 60}) is None


def test_few_items_are_not_compared() -> None:
    assert numbers("x", [1.0] * 49, [1.0] * 500) is None
    assert kinds("x", {"a": 40}, {"a": 10, "b": 300}) is None
    assert [gap for gap in texts(["a"] * 40, ["b"] * 40) if gap] == []


def test_other_texts_are_found_by_words_and_by_form() -> None:
    rng = Random(7)
    before = [_text(rng) for _ in range(300)]
    other = together(texts(before, [_text(rng, shift=120) for _ in range(200)]))
    assert [gap.name for gap in other.drifted] == ["words"]
    shouted = together(texts(before, [_text(rng).upper() for _ in range(200)]))
    assert "capitals" in {gap.name for gap in shouted.drifted}
    assert together(texts(before, [_text(rng) for _ in range(200)])).drifted == ()


def _spec(kind: TaskKind, **more: Any) -> TaskSpec:
    return TaskSpec(name="t", kind=kind, description="", prompt="", **more)


def _span(label: str) -> dict[str, Any]:
    return {"start": 0, "end": 1, "label": label, "text": "a"}


@pytest.mark.parametrize(
    ("spec", "before", "now"),
    [
        (SPEC, {"label": "good"}, {"label": "bad"}),
        (_spec(TaskKind.SCORE), {"value": 0.2}, {"value": 0.9}),
        (_spec(TaskKind.TEXT), {"text": "short"}, {"text": "not so short"}),
        (
            _spec(TaskKind.SPANS, labels=("A", "B")),
            {"spans": [_span("A"), _span("A")]},
            {"spans": [_span("B"), _span("A")]},
        ),
        (
            _spec(
                TaskKind.JSON,
                schema={"properties": {"n": {"type": "number"}, "ok": {"type": "boolean"}}},
            ),
            {"n": 1, "ok": True},
            {"n": 1, "ok": False},
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, TaskSpec) else "",
)
def test_answers_of_every_kind_drift(
    spec: TaskSpec, before: dict[str, Any], now: dict[str, Any]
) -> None:
    was = [before] * 60 + [now] * 20
    assert together(answers(spec, was, was[::-1])).drifted == ()
    assert together(answers(spec, was, [before] * 10 + [now] * 70)).drifted


def _calls(
    database: Database, clock: FrozenClock, rng: Random, count: int, *, bad: float, **more: Any
) -> None:
    made = []
    for _ in range(count):
        clock.advance(60)
        fields: dict[str, Any] = {
            "status": "answered",
            "input": _text(rng),
            "output": {"label": "bad" if rng.random() < bad else "good"},
            "latency_ms": 5.0,
            "task": SPEC.name,
            "task_revision": SPEC.revision,
            "reference": "up/large",
            "hosting": "external",
            "arm": "incumbent",
        }
        made.append(InteractionRecord(id=new_id(), created_at=clock.now(), **{**fields, **more}))
    with database.write() as unit:
        record_calls(unit, made)


def _check(database: Database, clock: FrozenClock) -> DriftCheck:
    return DriftCheck(database, clock, Catalog([SPEC]), _no_encoder)


def test_an_upstream_is_compared_with_its_first_calls(
    database: Database, clock: FrozenClock
) -> None:
    rng, check = Random(3), _check(database, clock)
    _calls(database, clock, rng, 320, bad=0.2)
    found, skipped = check.look(SPEC)
    assert found == []
    assert "fewer than 50" in skipped["up/large"]
    _calls(database, clock, rng, 200, bad=0.2)
    _calls(database, clock, rng, 200, bad=0.9, arm="forced")
    _calls(database, clock, rng, 200, bad=0.9, task_revision="0ld")
    [calm], _ = check.look(SPEC)
    assert not calm.drifted
    assert (calm.inputs is None, calm.outputs is None) == (False, False)
    assert calm.detail["outputs"]["against"] == "the first 300 calls that up/large answered"
    clock.advance(7 * 86_400)
    _calls(database, clock, rng, 150, bad=0.6)
    [now], _ = check.look(SPEC)
    assert now.drifted
    assert now.reasons[0].startswith("outputs: labels: ")
    with database.read() as unit:
        assert [one.id for one in drift_records.list_drift(unit)] == [now.id, calm.id]
        assert drift_records.newest(unit, SPEC.name) == [now]
        assert drift_records.newest(unit, "other") == []


def _snapshot(unit: WriteUnit, clock: FrozenClock, rng: Random) -> str:
    """200 examples to learn from, the first of them erased."""
    snapshot_id = new_id()
    row = {
        "id": snapshot_id,
        "task": SPEC.name,
        "task_revision": SPEC.revision,
        "content_hash": "0" * 64,
        "settings": {},
        "counts": {},
        "dropped": {},
        "created_at": clock.now(),
    }
    examples = [
        {
            "snapshot_id": snapshot_id,
            "position": number,
            "split": "train",
            "input": _text(rng) if number else {"erased": True},
            "target": {"label": "good"},
            "weight": 1.0,
            "quality": 1.0,
            "group_key": str(number),
            "origin": {},
            "content_hash": f"{rng.getrandbits(64):x}",
        }
        for number in range(200)
    ]
    unit.execute(insert(table_of(Snapshot)).values(**row))
    unit.execute(insert(table_of(SnapshotExample)), examples)
    return str(snapshot_id)


def _version(unit: WriteUnit, clock: FrozenClock, snapshot_id: str) -> None:
    """A version that answered "bad" to every fourth of 80 test examples."""
    about = {"task": SPEC.name, "task_revision": SPEC.revision, "snapshot_id": snapshot_id}
    version = versions.register(
        unit,
        **about,
        artifact=SPEC.name,
        store_version="20260101T000000Z-0badcafe",
        manifest_digest="sha256:00",
        recipe="encoder-head.v1",
        run_id=None,
        at=clock.now(),
    )
    name = version.reference
    begun = records.begin(
        unit, **about, candidate=name, version_id=version.id, settings={}, at=clock.now()
    )
    said = tuple(Answer(output={"label": "bad" if n % 4 == 0 else "good"}) for n in range(80))
    result = Result(
        reference=name,
        role="candidate",
        about="",
        answers=said,
        scores=(1.0,) * len(said),
        figures={"score": Interval(1.0, 1.0, 1.0)},
        latency=None,
    )
    passed = Verdict(kind=VerdictKind.PASS, reasons=())
    records.finish(unit, begun.id, results=[result], comparisons=[], verdict=passed, at=clock.now())


def test_an_own_version_is_compared_with_its_examples_and_its_evaluation(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    rng, check = Random(11), _check(sqlite_database, clock)
    with sqlite_database.write() as unit:
        _version(unit, clock, _snapshot(unit, clock, rng))
    _calls(sqlite_database, clock, rng, 120, bad=0.25)
    [waiting], skipped = check.look(SPEC)
    assert (waiting.reference, waiting.outputs, waiting.drifted) == ("tone@1", None, False)
    assert waiting.detail["inputs"]["against"] == "199 of its training examples"
    assert waiting.detail["outputs"]["why_not"]
    assert list(skipped) == ["up/large"]
    own = {"reference": "tone@1", "hosting": "own"}
    _calls(sqlite_database, clock, rng, 120, bad=0.25, **own)
    assert not check.look(SPEC)[0][0].drifted
    clock.advance(7 * 86_400)
    _calls(sqlite_database, clock, rng, 120, bad=0.9, **own)
    looked = {one.reference: one for one in check.look(SPEC)[0]}
    assert "its 80 answers to the test split" in looked["tone@1"].detail["outputs"]["against"]
    assert looked["tone@1"].reasons[0].startswith("outputs: labels: ")


def test_the_job_looks_and_says_what_drifted(sqlite_database: Database, clock: FrozenClock) -> None:
    rng = Random(5)
    _calls(sqlite_database, clock, rng, 300, bad=0.1)
    _calls(sqlite_database, clock, rng, 100, bad=0.7)
    with sqlite_database.write() as unit:
        job = drift_records.request(unit, None, at=clock.now())
        assert drift_records.request(unit, None, at=clock.now()).id == job.id
        assert drift_records.request(unit, SPEC.name, at=clock.now()).id != job.id
        taken = queue.claim(unit, [drift_records.JOB], "w", at=clock.now(), job_id=job.id)
    assert taken is not None
    context = JobContext(sqlite_database, clock, taken)
    told = _check(sqlite_database, clock)(context, dict(taken.arguments))
    assert told == {"looked": 1, "drifted": ["up/large"], "skipped": {}}


def test_a_unit_counts_once(sqlite_database: Database, clock: FrozenClock) -> None:
    """Calls of one user are not drawn apart: two loud users are no drift."""
    spec = TaskSpec(
        name="tone",
        kind=TaskKind.CHOICE,
        description="",
        labels=("good", "bad"),
        prompt="{{ input }}",
        chain=("up/large",),
        unit=Unit.USER,
    )
    rng = Random(9)
    for number in range(400):
        _calls(sqlite_database, clock, rng, 1, bad=0.2, unit=f"u{number}")
    for number in range(2):
        _calls(sqlite_database, clock, rng, 150, bad=1.0, unit=f"loud{number}")
    by_call, by_user = (
        DriftCheck(sqlite_database, clock, Catalog([one]), _no_encoder).look(one)[0]
        for one in (SPEC, spec)
    )
    assert [one.drifted for one in by_call] == [True]
    assert [one.drifted for one in by_user] == [False]


def test_a_model_that_drifted_needs_attention(
    sqlite_database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    rng = Random(21)
    _calls(sqlite_database, clock, rng, 300, bad=0.1)
    _calls(sqlite_database, clock, rng, 100, bad=0.8)
    _check(sqlite_database, clock).look(SPEC)
    server = Server(
        breakers=Breakers(clock=clock, jitter=lambda: 0.0, failures=1, open_s=60.0),
        store=ModelStore(tmp_path / "store", clock),
        recorder=Recorder(sqlite_database, clock=clock),
        settings_error="",
        routes={"tone": routes.implicit("tone", SPEC.chain)},
    )
    with sqlite_database.read() as unit:
        found = concerns(unit, server, [], now=clock.now())
    assert [(one.code, one.about) for one in found] == [(Code.DRIFT, "tone")]
    assert "away from the first 300 calls that up/large answered" in found[0].text


def test_a_server_looks_once_a_day(sqlite_database: Database, clock: FrozenClock) -> None:
    def queued() -> int:
        chores.run(sqlite_database, clock, Settings())
        with sqlite_database.read() as unit:
            return len(queue.list_jobs(unit, name=drift_records.JOB))

    counts = [queued()]
    for _ in range(2):
        clock.advance(86_400)
        counts += [queued(), queued()]
    assert counts == [0, 1, 1, 1, 1], "a look that has not ended is enough"
