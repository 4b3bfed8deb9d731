"""One evaluation from start to end: the job ``evaluation.run``."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from inhouse.core.clock import Clock
from inhouse.core.errors import InhouseError, Invalid
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.core.states import JobStatus, VersionStatus
from inhouse.datasets.erase import DROPPED, count_erased
from inhouse.datasets.example import Example
from inhouse.datasets.snapshot import SnapshotRecord, load_examples
from inhouse.datasets.snapshot import get as get_snapshot
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.evaluation import floors, records
from inhouse.evaluation.gate import GateSettings, VerdictKind, compare, decide
from inhouse.evaluation.measure import Answer, Result, measure
from inhouse.evaluation.records import EvaluationRecord
from inhouse.gateway.answer import ask_task
from inhouse.inference.base import Backend, Message, Question, Reply
from inhouse.jobs import queue
from inhouse.jobs.handler import JobContext
from inhouse.jobs.queue import JobRecord
from inhouse.registry import retire, routes, versions
from inhouse.registry.versions import Version
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.prompts import fit, render
from inhouse.tasks.spec import TaskSpec

JOB = "evaluation.run"
SEED = 20_260_101
_MOST_JOBS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """What an evaluation needs of the product. ``resolve`` opens a backend by reference."""

    database: Database
    catalog: Catalog
    clock: Clock
    resolve: Callable[[str], Backend]
    gate: GateSettings

    def __call__(self, job: JobContext, arguments: dict[str, Any]) -> Mapping[str, Any]:
        """Handler of the job: ``{"version_id": ...}``, and ``snapshot_id`` for another snapshot."""
        record = self.evaluate(
            arguments["version_id"],
            snapshot_id=arguments.get("snapshot_id"),
            progress=job.progress,
            check=job.check,
            job_id=job.record.id,
        )
        return {"evaluation_id": record.id, "verdict": record.verdict}

    def follow(self, unit: WriteUnit, job: JobRecord, at: datetime) -> None:
        """What a worker began and left when it died has ended."""
        version_id, why = job.arguments["version_id"], job.error or f"the job was {job.status}"
        records.fail_of_job(unit, job.id, version_id, why, at=at)

    def check(self, reference: str) -> None:
        """Raise what ``request`` or ``evaluate`` would, before anything is asked."""
        with self.database.read() as unit:
            version = _version(unit, reference)
        self._load(version.id, None)

    def evaluate(
        self,
        version_id: str,
        *,
        snapshot_id: str | None = None,
        progress: Callable[[float, float, str], None] = lambda done, total, note: None,
        check: Callable[[], None] = lambda: None,
        job_id: str | None = None,
    ) -> EvaluationRecord:
        """Score a version beside the incumbent, the general model and the floors.

        The test split is that of the snapshot the version was trained from, unless another is
        named. A verdict of ``fail`` rejects a version that is still a candidate and that no route
        uses. Answers to a split of which some is erased meanwhile are not kept. Raises Invalid
        when the snapshot has no test split or is of another task revision.
        """
        version, spec, snapshot, examples = self._load(version_id, snapshot_id)
        test = [example for example in examples if example.split == "test"]
        with self.database.write() as unit:
            begun = self._begin(unit, version, spec, snapshot, job_id)
        try:
            results = self._measure(version, spec, examples, test, progress, check)
            return self._finish(begun, version, snapshot, results)
        except BaseException as error:
            with self.database.write() as unit:
                records.fail(unit, begun.id, str(error) or type(error).__name__, at=self._now())
            raise

    def _load(
        self, version_id: str, snapshot_id: str | None
    ) -> tuple[Version, TaskSpec, SnapshotRecord, list[Example]]:
        with self.database.read() as unit:
            version = versions.by_id(unit, version_id)
            chosen = snapshot_id or version.snapshot_id
            if chosen is None:
                raise Invalid(f"{version.reference} names no snapshot", hint="name one")
            snapshot = get_snapshot(unit, chosen, task=version.task)
            examples = load_examples(unit, snapshot.id)
        spec = self.catalog.get(version.task)
        if not version.task_revision == snapshot.task_revision == spec.revision:
            raise Invalid(
                f"{version.reference}, its snapshot and task {spec.name} differ in revision",
                code="task-revision",
            )
        if not any(example.split == "test" for example in examples):
            raise Invalid("the snapshot has no test split", code="no-test-split")
        return version, spec, snapshot, examples

    def _begin(
        self,
        unit: WriteUnit,
        version: Version,
        spec: TaskSpec,
        snapshot: SnapshotRecord,
        job_id: str | None,
    ) -> EvaluationRecord:
        return records.begin(
            unit,
            task=spec.name,
            task_revision=spec.revision,
            candidate=version.reference,
            version_id=version.id,
            snapshot_id=snapshot.id,
            settings={"gate": asdict(self.gate), "seed": SEED, "job": job_id},
            at=self._now(),
        )

    def _measure(
        self,
        version: Version,
        spec: TaskSpec,
        examples: Sequence[Example],
        test: Sequence[Example],
        progress: Callable[[float, float, str], None],
        check: Callable[[], None],
    ) -> list[Result]:
        asked = self._references(version, spec)
        total = len(asked) * len(test)
        targets = [example.target for example in test]
        results = []
        for index, (reference, role) in enumerate(asked):

            def report(done: int, index: int = index, reference: str = reference) -> None:
                check()
                progress(index * len(test) + done, total, f"asking {reference}")

            answers, about = self._ask_all(reference, spec, test, report)
            results.append((reference, role, about, answers))
        progress(total, total, "fitting the floors")
        results += self._floors(spec, examples, test)
        rng = random.Random(SEED)
        return [
            measure(
                spec, reference=r, role=role, about=about, answers=found, targets=targets, rng=rng
            )
            for r, role, about, found in results
        ]

    def _references(self, version: Version, spec: TaskSpec) -> list[tuple[str, str]]:
        """The candidate, then the incumbent (another version that has all the traffic stands for
        it), then the general model, each once."""
        with self.database.read() as unit:
            route = routes.current(unit, spec.name) or routes.implicit(spec.name, spec.chain)
        found = {version.reference: "candidate"}
        general = spec.chain[0] if spec.chain else None
        is_full = route.weight_bp == routes.FULL and route.candidate != version.reference
        for reference in (route.candidate if is_full else route.incumbent, general):
            if reference:
                role = "general" if reference == general else "incumbent"
                found.setdefault(reference, role)
        return list(found.items())

    def _ask_all(
        self,
        reference: str,
        spec: TaskSpec,
        test: Sequence[Example],
        report: Callable[[int], None],
    ) -> tuple[list[Answer], str]:
        backend = self.resolve(reference)

        async def run() -> list[Answer]:
            answers = []
            for done, example in enumerate(test):
                report(done)
                answers.append(await _answer(backend, spec, example.input))
            return answers

        return asyncio.run(run()), getattr(backend, "about", "")

    def _floors(
        self, spec: TaskSpec, examples: Sequence[Example], test: Sequence[Example]
    ) -> list[tuple[str, str, str, list[Answer]]]:
        train = [(e.input, e.target, e.weight) for e in examples if e.split != "test"]
        found = floors.fitted(spec, train, [example.input for example in test])
        return [(floor.name, "floor", floor.about, floor.answers) for floor in found]

    def _finish(
        self,
        begun: EvaluationRecord,
        version: Version,
        snapshot: SnapshotRecord,
        results: Sequence[Result],
    ) -> EvaluationRecord:
        rng = random.Random(SEED)
        comparisons = [compare(results[0], other, rng) for other in results[1:]]
        verdict = decide(results[0], comparisons, self.gate)
        with self.database.write() as unit:
            is_whole = count_erased(unit, snapshot.id) == snapshot.dropped.get(DROPPED, 0)
            record = records.finish(
                unit,
                begun.id,
                results=results,
                comparisons=comparisons,
                verdict=verdict,
                keep_answers=is_whole,
                at=self._now(),
            )
            if verdict.kind is VerdictKind.FAIL:
                self._reject(unit, version, verdict.reasons)
        return record

    def _reject(self, unit: WriteUnit, version: Version, reasons: Sequence[str]) -> None:
        """A failed gate rejects a version that nobody has put into service or away by now."""
        now = versions.get(unit, version.task, version.number, lock=True)
        if now.status is not VersionStatus.CANDIDATE:
            return
        if retire.users(unit, self.catalog.all(), now.reference):
            return
        why = "; ".join(reasons)
        at, status = self._now(), VersionStatus.REJECTED
        versions.set_status(unit, now.id, status, by="gate", why=why, at=at)

    def _now(self) -> datetime:
        return self.clock.now()


class _Unrecorded:
    """An evaluation keeps its answers itself; what they used up is not counted."""

    def note(self, backend: Backend, reply: Reply) -> None:
        return


_UNRECORDED = _Unrecorded()


async def _answer(backend: Backend, spec: TaskSpec, text: str) -> Answer:
    """One answer, timed; what a backend could not answer is a failure of it, not of ours."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(spec.timeout_s):
            sent = fit(spec, text)
            messages = (Message("user", render(spec, sent) if spec.prompt else sent),)
            question = Question(task=spec, text=sent, messages=messages)
            reply = await ask_task(backend, backend.reference, spec, question, _UNRECORDED)
    except InhouseError as error:
        return Answer(output=None, latency_ms=_since(began), error_code=error.code)
    except TimeoutError:
        return Answer(output=None, latency_ms=_since(began), error_code="timeout")
    return Answer(output=reply.output, probabilities=reply.probabilities, latency_ms=_since(began))


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def request(unit: WriteUnit, reference: str, *, clock: Clock) -> JobRecord:
    """Queue the evaluation of ``task@n``, if none waits. Raises Invalid for another kind of
    reference."""
    version = _version(unit, reference)
    for job in pending(unit, version.id):
        if job.status is JobStatus.QUEUED:
            return job
    return queue.enqueue(unit, JOB, {"version_id": version.id}, at=clock.now())


def pending(unit: ReadUnit, version_id: str) -> list[JobRecord]:
    """Evaluations of a version that wait or run."""
    return [
        job
        for status in (JobStatus.QUEUED, JobStatus.RUNNING)
        for job in queue.list_jobs(unit, status=status, name=JOB, limit=_MOST_JOBS)
        if job.arguments.get("version_id") == version_id
    ]


def _version(unit: ReadUnit, reference: str) -> Version:
    parsed = parse_reference(reference)
    if parsed.kind is not ReferenceKind.VERSION:
        raise Invalid(f"{reference} is no model version", hint="write TASK@N")
    return versions.get(unit, parsed.name, parsed.number)
