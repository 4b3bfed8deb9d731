"""The part of the story in which an own model comes to be."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from rich.progress import Progress as Bar

from inhouse.bootstrap import App
from inhouse.cli.demo.ask import TASK
from inhouse.cli.demo.plan import Text
from inhouse.cli.demo.tell import Teller
from inhouse.core.errors import InhouseError, Invalid
from inhouse.core.states import RunStatus
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.ingest import import_file
from inhouse.datasets.snapshot import SnapshotRecord, build
from inhouse.datasets.snapshot import get as get_snapshot
from inhouse.datasets.split import SplitSettings
from inhouse.evaluation.records import EvaluationRecord, list_evaluations
from inhouse.jobs.queue import list_jobs
from inhouse.registry import versions
from inhouse.registry.versions import Version
from inhouse.training import runs
from inhouse.training.runs import Run

_PATIENCE_S = 600.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of the run: the version, if it succeeded, and the gate's verdict."""

    run_id: str
    reference: str
    evaluation_id: str
    verdict: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def train_and_evaluate(app: App, snapshot_id: str, bar: Bar, *, actor: str) -> Trained:
    """Start a run on the snapshot and follow it and its evaluation to their ends.

    Data too small to train or to score on ends as ``inconclusive``.
    """
    with app.database.read() as unit:
        snapshot = get_snapshot(unit, snapshot_id, task=TASK)
    run = train(app, snapshot, bar, actor=actor)
    if run.status is RunStatus.FAILED and _too_small(run.error or ""):
        return Trained(run_id=run.id, reference="", evaluation_id="", verdict="inconclusive")
    version = version_of(app, run)
    reference = version.reference
    if not snapshot.counts.get("test"):
        return Trained(run_id=run.id, reference=reference, evaluation_id="", verdict="inconclusive")
    record = _evaluated(app, version.id, bar)
    if record.verdict is None:
        raise InhouseError(f"the evaluation failed: {record.error}")
    return Trained(
        run_id=run.id, reference=reference, evaluation_id=record.id, verdict=record.verdict
    )


def train(app: App, snapshot: SnapshotRecord, bar: Bar, *, actor: str, **overrides: Any) -> Run:
    """Start a run of the default recipe on a snapshot and follow it to its end."""
    with app.database.write() as unit:
        spec = app.catalog.get(TASK)
        run = app.training.request(unit, spec, snapshot, overrides=overrides, actor=actor)
    return _follow(app, run.id, bar)


def version_of(app: App, run: Run) -> Version:
    """What a run made. Raises InhouseError when it made nothing."""
    if run.version_id is None:
        raise InhouseError(f"the training run ended as {run.status}: {run.error}")
    with app.database.read() as unit:
        return versions.by_id(unit, run.version_id)


def bring_in(
    app: App, teller: Teller, step: str, kind: str, texts: Sequence[Text], words: str
) -> None:
    """Import texts with their labels, as ``inhouse dataset import`` does."""
    path = app.settings.folder / "labelled.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label" if kind == "choice" else "score", "group"])
        writer.writerows([text.text, text.target, text.group] for text in texts)
    report = import_file(app.database, app.catalog.get(TASK), path, clock=app.clock)
    teller.tell(
        step,
        f"{report.added + report.duplicate} {words}",
        ("dataset", "import", TASK, str(path), "--json"),
        {"read": report.read, "bad": []},
    )


def snapshot_of(app: App, teller: Teller, step: str, most_test: int | None) -> SnapshotRecord:
    """Build a snapshot of everything that is there, and tell what it holds."""
    settings = BuildSettings(split=SplitSettings(max_test=most_test))
    with app.database.write() as unit:
        snapshot = build(unit, app.catalog.get(TASK), settings=settings, at=app.clock.now())
    counts = {split: snapshot.counts.get(split, 0) for split in ("train", "valid", "test")}
    dropped = ", ".join(f"{n} {reason}" for reason, n in sorted(snapshot.dropped.items()))
    teller.tell(
        step,
        f"snapshot {snapshot.content_hash[:12]}: {counts['train']} train, {counts['valid']} "
        f"valid, {counts['test']} test; dropped: {dropped or 'none'}",
        ("dataset", "show", snapshot.content_hash, "--json"),
        {
            "content_hash": snapshot.content_hash,
            **{f"counts.{split}": n for split, n in counts.items()},
            **{f"dropped.{reason}": n for reason, n in snapshot.dropped.items()},
        },
    )
    return snapshot


def tell(app: App, teller: Teller, trained: Trained) -> None:
    """The lines of the run, of every figure of the evaluation, and of the gate."""
    with app.database.read() as unit:
        run = runs.get(unit, trained.run_id)
        found = list_evaluations(unit, TASK)
    began, ended = run.started_at, run.finished_at
    took = (ended - began).total_seconds() if began and ended else 0.0
    teller.tell(
        "train",
        f"run {run.id}: {run.recipe} in a child process, {run.status} after {took:.1f} s"
        + (f": {run.error}" if run.error else f"; version {trained.reference}, a candidate"),
        ("train", "status", run.id, "--json"),
        {"status": run.status.value},
    )
    record = next((r for r in found if r.id == trained.evaluation_id), None)
    if record is None:
        teller.tell("train", "gate: inconclusive, there is too little to train and score on")
        return
    _tell_evaluation(teller, record)


def _tell_evaluation(teller: Teller, record: EvaluationRecord) -> None:
    command = ("evaluation", "show", record.id, "--json")
    results = record.results or []
    teller.say(f"on the frozen test split ({results[0]['n']} texts), each with its 95 % interval:")
    for index, result in enumerate(results):
        figures = {f"results.{index}.{path}": value for path, value in _figures(result)}
        about = f", {result['about']}" if result["about"] else ""
        shown = "  ".join(_shown(result))
        name = f"{result['reference']} ({result['role']}{about})"
        teller.tell("train", f"{name}: {shown}", command, figures)
    reasons = "; ".join(record.reasons or [])
    teller.tell("train", f"gate: {record.verdict}: {reasons}", command, {"verdict": record.verdict})


def _figures(result: Mapping[str, Any]) -> list[tuple[str, float]]:
    found = [
        (f"figures.{name}.{end}", interval[end])
        for name, interval in result["figures"].items()
        for end in ("estimate", "low", "high")
    ]
    if result["latency"]:
        found.append(("latency.p50_ms.estimate", result["latency"]["p50_ms"]["estimate"]))
    return found


def _shown(result: Mapping[str, Any]) -> list[str]:
    names = [name for name in result["figures"] if name != "score" or "mae" in result["figures"]]
    shown = [
        f"{name.replace('_', '-')} {i['estimate']:.3f} [{i['low']:.3f}, {i['high']:.3f}]"
        for name, i in ((name, result["figures"][name]) for name in names)
    ]
    if result["latency"]:
        p50 = result["latency"]["p50_ms"]
        shown.append(f"p50 {p50['estimate']:.1f} ms [{p50['low']:.1f}, {p50['high']:.1f}]")
    return shown


def _follow(app: App, run_id: str, bar: Bar) -> Run:
    """Wait for the run's end, with its own progress."""
    task, seen = bar.add_task("training", total=None), 0

    def look() -> Run | None:
        nonlocal seen
        with app.database.read() as unit:
            run, news = runs.get(unit, run_id), runs.events(unit, run_id, after=seen)
        for event in news:
            seen = event.sequence
            if event.kind == "progress":
                data = event.data
                bar.update(
                    task,
                    completed=data["done"],
                    total=data["total"] or None,
                    description=data["note"],
                )
        return run if run.finished_at is not None else None

    return _wait(look, "the training run")


def _evaluated(app: App, version_id: str, bar: Bar) -> EvaluationRecord:
    task = bar.add_task("evaluating", total=None)

    def look() -> EvaluationRecord | None:
        with app.database.read() as unit:
            found = list_evaluations(unit, version_id=version_id)
            jobs = [j for j in list_jobs(unit) if j.arguments.get("version_id") == version_id]
        for job in jobs:
            if job.progress is not None:
                bar.update(task, completed=job.progress.done, total=job.progress.total or None)
            if job.status == "failed" and not any(r.status == "done" for r in found):
                raise Invalid(f"the evaluation failed: {job.error}", code="evaluation-failed")
        return next((record for record in found if record.status == "done"), None)

    return _wait(look, "the evaluation")


def _wait(look: Callable[[], T | None], what: str) -> T:
    deadline = time.monotonic() + _PATIENCE_S
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not end within {_PATIENCE_S:g} s")
        time.sleep(0.1)
    return found


def _too_small(error: str) -> bool:
    return "example" in error or "label" in error
