"""A project with a past: a million calls of 30 days, corrections, versions, runs, evaluations."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from inhouse.core.clock import SystemClock
from inhouse.core.ids import new_id
from inhouse.core.states import VersionStatus
from inhouse.datasets.tables import Snapshot, SnapshotExample
from inhouse.db.bulk import BulkInsert
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database, WriteUnit
from inhouse.db.writer import Writer
from inhouse.evaluation import records
from inhouse.evaluation.compare import Interval
from inhouse.evaluation.gate import Comparison, Verdict, VerdictKind
from inhouse.evaluation.measure import Answer, Result
from inhouse.feedback.tables import Feedback
from inhouse.interactions.entry import InteractionRecord, Spending
from inhouse.interactions.insert import Inserts
from inhouse.migrations.upgrade import upgrade
from inhouse.registry import routes, versions
from inhouse.tasks.catalog import Catalog
from inhouse.training import runs

DAYS: Final = 30
LABELS: Final = ("negative", "neutral", "positive")
TASKS: Final = ("sentiment", "topic", "urgency", "language", "intent", "tone")
GENERAL: Final = "local/general-7b"
EXTERNAL: Final = "hosted/large"
SETTINGS: Final = """
[server]
workers = 0
[database]
url = "{url}"
[upstreams.local]
base_url = "http://127.0.0.1:9/v1"
[upstreams.hosted]
base_url = "https://api.example.org/v1"
""" + "".join(
    f"""[tasks.{task}]
kind = "choice"
labels = ["negative", "neutral", "positive"]
prompt = "Say the {task} of this text: {{{{{{{{ input }}}}}}}}"
chain = ["{GENERAL}", "{EXTERNAL}"]
"""
    for task in TASKS
)
_BATCH: Final = 400
_EXAMPLES: Final = 2000
_CORRECTED: Final = 0.02
_TEXT: Final = (
    "the harbour council orders ships prices fell rose after talks on wages in spring while "
    "traders said that demand from the north stayed weak and costs of fuel went up again"
)


def build(url: str, catalog: Catalog, calls: int, now: datetime) -> None:
    """Fill an empty database. The calls are spread over the 30 days before ``now``, the same ones
    every time but for their ids."""
    database = Database(url)
    upgrade(database)
    draw = random.Random(7)
    with database.write() as unit:
        for number, task in enumerate(TASKS):
            _past(unit, catalog, task, now - timedelta(days=DAYS), versions_of=1 + number % 3)
    revisions = {task: catalog.get(task).revision for task in TASKS}
    _record(database, draw, calls, now, revisions)
    with database.engine.connect() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("ANALYZE")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("VACUUM ANALYZE")
    database.close()


def _record(
    database: Database, draw: random.Random, calls: int, now: datetime, revisions: dict[str, str]
) -> None:
    inserts = Inserts(database.engine.dialect, new_id())
    feedback = BulkInsert(database.engine.dialect, Feedback, conflict="DO NOTHING")
    writer = Writer(database, durable=False, busy_s=10.0)
    made = _calls(draw, calls, now, revisions)
    while batch := list(islice(made, _BATCH)):
        said = [_correction(call, draw) for call in batch if draw.random() < _CORRECTED]
        with writer.transaction() as cursor:
            inserts.write_fresh(cursor, batch, inserts.rows(batch))
            feedback.execute(cursor, [feedback.row(row) for row in said])
    writer.close()


def _calls(
    draw: random.Random, calls: int, now: datetime, revisions: dict[str, str]
) -> Iterator[InteractionRecord]:
    begin, step = now - timedelta(days=DAYS), timedelta(days=DAYS) / calls
    for number in range(calls):
        at = begin + number * step
        yield _call(draw, at, number / calls, f"{int(at.timestamp() * 1000):012x}", revisions)


def _call(
    draw: random.Random, at: datetime, age: float, prefix: str, revisions: dict[str, str]
) -> InteractionRecord:
    place = min(int(draw.expovariate(0.6)), len(TASKS) - 1)
    task, luck, fresh = TASKS[place], draw.random(), new_id()
    own = luck < age * (1 - place / len(TASKS))
    external = not own and place == len(TASKS) - 1
    reference = f"{task}@1" if own else EXTERNAL if external else GENERAL
    failed = draw.random() < 0.004
    label = draw.choice(LABELS)
    used = 0 if own else draw.randint(60, 200)
    cost = used * 2e-6 if external else 0.0
    latency = draw.lognormvariate(1.0, 0.4) if own else draw.lognormvariate(6.4, 0.5)
    latency = round(latency, 3)
    attempt: dict[str, Any] = {"reference": reference, "ok": not failed, "code": None}
    attempt |= {"latency_ms": latency, **({"code": "upstream-timeout"} if failed else {})}
    return InteractionRecord(
        id=f"{prefix[:8]}-{prefix[8:]}{fresh[13:]}",
        created_at=at,
        task=task,
        task_revision=revisions[task],
        status="failed" if failed else "answered",
        error_code="upstream-timeout" if failed else None,
        input=" ".join(draw.choices(_TEXT.split(), k=draw.randint(12, 60))),
        output=None if failed else {"label": label},
        raw=None if own or failed else label,
        probabilities=None if failed else {name: 0.8 if name == label else 0.1 for name in LABELS},
        reference=None if failed else reference,
        hosting=None if failed else "own" if own else "external" if external else "local",
        arm="candidate" if own and draw.random() < 0.5 else "incumbent",
        route_revision=1,
        weight_bp=5000,
        unit=new_id()[-12:] * 2,
        tags={"source": draw.choice(("wire", "web", "mail"))} if luck < 0.3 else None,
        attempts=[attempt],
        latency_ms=latency,
        input_tokens=used,
        output_tokens=3 if used else 0,
        cost=cost,
        spendings=(Spending(upstream=reference.partition("/")[0], tries=1, tokens=used, cost=cost),)
        if used
        else (),
    )


def _correction(call: InteractionRecord, draw: random.Random) -> list[object]:
    value = {"label": draw.choice(LABELS)}
    return [new_id(), call.id, "correction", value, "desk", call.created_at, new_id()]


def _past(unit: WriteUnit, catalog: Catalog, task: str, at: datetime, *, versions_of: int) -> None:
    """A snapshot, and versions made from it: trained, evaluated, the first one half rolled out."""
    revision, snapshot = catalog.get(task).revision, new_id()
    _snapshot(unit, snapshot, task, revision, at)
    for number in range(versions_of):
        when = at + timedelta(days=number)
        run = runs.create(
            unit,
            run_id=new_id(),
            job_id=new_id(),
            task=task,
            task_revision=revision,
            recipe="encoder_head.v1",
            settings={"seed": number},
            snapshot_id=snapshot,
            snapshot_hash="0" * 64,
            actor="desk",
            at=when,
        )
        runs.start(unit, run.id, at=when)
        for step in range(200):
            data = {"done": step, "total": 200, "note": "epoch"}
            runs.append(unit, run.id, runs.PROGRESS, data, at=when + timedelta(seconds=step))
        version = versions.register(
            unit,
            task=task,
            task_revision=revision,
            artifact=f"{task}-encoder",
            store_version=f"{number + 1}",
            manifest_digest="sha256:" + "0" * 64,
            recipe="encoder_head.v1",
            run_id=run.id,
            snapshot_id=snapshot,
            at=when,
        )
        runs.succeed(unit, run.id, version_id=version.id, metrics={}, at=when)
        _evaluate(unit, version, snapshot, when)
    moved = routes.implicit(task, (GENERAL, EXTERNAL))
    values = {"candidate": f"{task}@1", "weight_bp": 5000, "actor": "desk", "reason": "passed"}
    routes.append(unit, _changed(moved, values), expect=0, at=at)
    versions.set_status(
        unit, versions.get(unit, task, 1).id, VersionStatus.ACTIVE, by="desk", why="", at=at
    )


def _changed(route: routes.Route, values: dict[str, Any]) -> routes.Route:
    return replace(route, **values)


def _snapshot(unit: WriteUnit, snapshot: str, task: str, revision: str, at: datetime) -> None:
    draw = random.Random(task)
    splits = {"train": _EXAMPLES * 8 // 10, "valid": _EXAMPLES // 10, "test": _EXAMPLES // 10}
    row = {"id": snapshot, "task": task, "task_revision": revision, "content_hash": f"{task:0<64}"}
    made = {"settings": {}, "counts": splits, "dropped": {}, "created_at": at}
    unit.execute(table_of(Snapshot).insert().values(**row, **made))
    names = [name for name, count in splits.items() for _ in range(count)]
    unit.execute(
        table_of(SnapshotExample).insert(),
        [
            {
                "snapshot_id": snapshot,
                "position": position,
                "split": split,
                "input": " ".join(draw.choices(_TEXT.split(), k=20)),
                "target": {"label": draw.choice(LABELS)},
                "weight": 1.0,
                "quality": 1.0,
                "group_key": str(position),
                "origin": {},
                "content_hash": f"{task}{position}",
            }
            for position, split in enumerate(names)
        ],
    )


def _evaluate(unit: WriteUnit, version: versions.Version, snapshot: str, at: datetime) -> None:
    begun = records.begin(
        unit,
        task=version.task,
        task_revision=version.task_revision,
        candidate=version.reference,
        version_id=version.id,
        snapshot_id=snapshot,
        settings={},
        at=at,
    )
    gap = Interval(estimate=0.1, low=0.05, high=0.15)
    records.finish(
        unit,
        begun.id,
        results=[_result(version.reference, "candidate", 0.8), _result(GENERAL, "general", 0.7)],
        comparisons=[
            Comparison(
                other=GENERAL, role="general", difference=gap, mcnemar_p=0.01, ece_difference=None
            )
        ],
        verdict=Verdict(kind=VerdictKind.PASS, reasons=("as good as the general model",)),
        at=at,
    )


def _result(reference: str, role: str, score: float) -> Result:
    draw = random.Random(reference)
    answers = tuple(
        Answer(output={"label": draw.choice(LABELS)}, latency_ms=2.0)
        for _ in range(_EXAMPLES // 10)
    )
    figure = Interval(estimate=score, low=score - 0.04, high=score + 0.04)
    return Result(
        reference=reference,
        role=role,
        about="",
        answers=answers,
        scores=tuple(float(draw.random() < score) for _ in answers),
        figures={"score": figure, "macro_f1": figure},
        latency=None,
    )


def now() -> datetime:
    """The present second, UTC."""
    return SystemClock().now().astimezone(UTC).replace(microsecond=0)
