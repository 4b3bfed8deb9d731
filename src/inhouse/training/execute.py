"""The job ``training.run``: snapshot, child process, parity check, publish, register.

Every step may be the last one before the power goes. What a dead attempt leaves behind is a folder
of the run, which the next attempt clears, what the trainer kept to go on from (``kept/``), and
perhaps a version in the ModelStore that nobody refers to, which the next attempt registers. Of a
run that has ended only the log stays on the disk. The registration, the run's success and the job
that evaluates the version are one transaction, which only the holder of the job's lease can make.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from inhouse.core.clock import Clock
from inhouse.core.errors import Conflict, Invalid
from inhouse.core.ids import new_id
from inhouse.core.states import RUNS, JobStatus, RunStatus
from inhouse.datasets.example import Split
from inhouse.datasets.snapshot import SnapshotRecord, load_examples
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.jobs import handler, queue
from inhouse.jobs.handler import JobContext, Stopped, StopReason
from inhouse.jobs.queue import JobRecord, Progress
from inhouse.registry import versions
from inhouse.store.resolve import Resolved
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskSpec
from inhouse.training import handover, metrics, preflight, process, recipes, runs
from inhouse.training.handover import Order
from inhouse.training.process import Watch
from inhouse.training.publish import PublishedRun, find_published, publish
from inhouse.training.runs import Run
from inhouse.training.trainers.base import RecipeSettings

JOB = "training.run"
EVALUATION_JOB = "evaluation.run"
LEARNED_FROM = (Split.TRAIN, Split.VALID)
LOG = "log.txt"

_TRAIN = "inhouse.training.child"
_PARITY = "inhouse.training.parity"
_PARITY_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Training:
    """What training needs of the product; the handler of its job.

    ``runs_dir``: every run has a folder there with its ``log.txt``. Examples lie in it only while
    the run runs.
    """

    database: Database
    store: ModelStore
    catalog: Catalog
    clock: Clock
    runs_dir: Path

    def request(
        self,
        unit: WriteUnit,
        spec: TaskSpec,
        snapshot: SnapshotRecord,
        *,
        recipe: str = recipes.DEFAULT,
        overrides: Mapping[str, Any] | None = None,
        actor: str,
    ) -> Run:
        """Queue a training run of a recipe on a snapshot.

        Raises Invalid for an unknown recipe or setting and for one that does not train tasks of
        this kind, Conflict (``task-revision``) when the snapshot is of another revision of the
        task.
        """
        _, settings = recipes.resolve(recipe, overrides or {})
        recipes.check_kind(recipe, spec)
        if (snapshot.task, snapshot.task_revision) != (spec.name, spec.revision):
            raise Conflict(
                f"snapshot {snapshot.short_hash} is not of {spec.name} as it is declared now",
                code="task-revision",
                hint=f"`inhouse dataset build {spec.name}` makes one that is",
            )
        run_id, at = new_id(), self.clock.now()
        job = queue.enqueue(unit, JOB, {"run_id": run_id}, at=at)
        return runs.create(
            unit,
            run_id=run_id,
            job_id=job.id,
            task=spec.name,
            task_revision=spec.revision,
            recipe=recipe,
            settings=settings.model_dump(mode="json"),
            snapshot_id=snapshot.id,
            snapshot_hash=snapshot.content_hash,
            actor=actor,
            at=at,
        )

    def cancel(self, unit: WriteUnit, run_id: str) -> Run:
        """Cancel a queued run at once; ask a running one to stop. Raises NotFound, Conflict."""
        run = runs.get(unit, run_id)
        RUNS.check(run.status, RunStatus.CANCELLED)
        handler.cancel(unit, {JOB: self}, run.job_id, at=self.clock.now())
        return runs.get(unit, run_id)

    def folder(self, run_id: str) -> Path:
        """The run's folder; its ``log.txt`` is what the child said on stderr."""
        return self.runs_dir / run_id

    def __call__(self, job: JobContext, arguments: dict[str, Any]) -> Mapping[str, Any]:
        """Handler of the job ``{"run_id": ...}``. Safe to repeat: a run makes one version."""
        with self.database.write() as unit:
            run = runs.get(unit, arguments["run_id"])
            if run.status is not RunStatus.SUCCEEDED:
                run = runs.start(unit, run.id, at=self.clock.now())
        if run.status is not RunStatus.SUCCEEDED:
            found = find_published(self.store, run) or self._make(job, run)
            run = self._register(job, run, found)
        self._forget(run.id)
        return {"run_id": run.id, "version_id": run.version_id}

    def follow(self, unit: WriteUnit, job: JobRecord, at: datetime) -> None:
        """Keep the run's status in step with its job's, in the same transaction."""
        run = runs.get(unit, job.arguments["run_id"])
        ended = RUNS.is_final(run.status)
        if job.status in (JobStatus.FAILED, JobStatus.CANCELLED):
            self._forget(run.id)
        match job.status:
            case JobStatus.FAILED if not ended:
                _count(runs.fail(unit, run.id, job.error or "", at=at))
            case JobStatus.CANCELLED if not ended:
                _count(runs.cancel(unit, run.id, at=at))
            case JobStatus.QUEUED if run.status is RunStatus.RUNNING:
                runs.requeue(unit, run.id, at=at)
            case _:
                pass

    def check_retry(self, unit: ReadUnit, job: JobRecord) -> None:
        """A run that has ended otherwise than well is over."""
        run = runs.get(unit, job.arguments["run_id"])
        if RUNS.is_final(run.status) and run.status is not RunStatus.SUCCEEDED:
            raise Conflict(
                f"training run {run.id} is {run.status}",
                code="run-state",
                hint=f"start another one: `inhouse train start {run.task}`",
            )

    def _make(self, job: JobContext, run: Run) -> PublishedRun:
        """Train and publish. Examples are gone from the disk afterwards, whatever happens."""
        spec = self._spec(run)
        trainer, settings = recipes.resolve(run.recipe, run.settings)
        with self.database.read() as unit:
            examples = load_examples(unit, run.snapshot_id, splits=LEARNED_FROM)
        with self._attempt(job, run) as folder:
            found = trainer.check(spec, examples, preflight.this_host(folder), settings)
            if not found.ok:
                raise Invalid("; ".join(found.reasons), code="training-preflight", hint=found.hint)
            if found.seconds is not None:
                takes = preflight.in_words(found.seconds)
                note = f"learning from {len(examples)} examples takes about {takes}"
                self._say(job, run, Progress(done=0, total=100, note=note))
            with self.store.hold(settings.base, holder=f"training run {run.id}") as base:
                order = Order(spec=spec, recipe=run.recipe, settings=run.settings, base=base.path)
                handover.write_order(folder, order, examples)
                return self._learn(job, run, settings, base, folder)

    def _learn(
        self, job: JobContext, run: Run, settings: RecipeSettings, base: Resolved, folder: Path
    ) -> PublishedRun:
        self._run(job, run, settings.threads, settings.max_seconds, _TRAIN, folder)
        artifact = handover.read_result(folder)

        def check(model: Path) -> None:
            self._say(job, run, Progress(done=100, total=100, note="checking what was saved"))
            self._run(job, run, settings.threads, _PARITY_SECONDS, _PARITY, model, folder)
            self._say(job, run, Progress(done=100, total=100, note="publishing"))

        return publish(self.store, run, base, artifact, check)

    def _spec(self, run: Run) -> TaskSpec:
        spec = self.catalog.get(run.task)
        if spec.revision != run.task_revision:
            raise Conflict(
                f"task {run.task} was declared otherwise when this run was started",
                code="task-revision",
                hint=f"build a snapshot and start again: `inhouse dataset build {run.task}`",
            )
        return spec

    @contextmanager
    def _attempt(self, job: JobContext, run: Run) -> Iterator[Path]:
        """An empty folder for this attempt; what earlier ones left is removed, but not the log and
        what the trainer kept."""
        home = self.folder(run.id)
        home.mkdir(parents=True, exist_ok=True)
        for path in _left_in(home):
            if path.name != handover.KEPT:
                shutil.rmtree(path, ignore_errors=True)
        folder = home / new_id()
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what is left on this machine of runs that have ended: a worker that was killed
        could not, and its run may have ended on another machine."""
        left = [home.name for home in _left_in(self.runs_dir) if _left_in(home)]
        with self.database.read() as unit:
            ended = runs.ended(unit, left)
        for run_id in ended:
            self._forget(run_id)

    def _forget(self, run_id: str) -> None:
        """Remove what attempts left, and what the trainer kept for another one; the log stays."""
        for path in _left_in(self.folder(run_id)):
            shutil.rmtree(path, ignore_errors=True)

    def _run(
        self,
        job: JobContext,
        run: Run,
        threads: int,
        max_seconds: float,
        module: str,
        *paths: Path,
    ) -> None:
        watch = Watch(
            on_line=lambda line: self._hear(job, run, line),
            cancelled=job.cancelled,
            max_seconds=max_seconds,
            clock=self.clock,
        )
        arguments: Sequence[str] = process.command(module, *map(str, paths))
        process.supervise(arguments, watch, log=self.folder(run.id) / LOG, threads=threads)

    def _hear(self, job: JobContext, run: Run, line: process.Line) -> None:
        if line["kind"] == handover.PROGRESS:
            progress = Progress(done=line["done"], total=line["total"], note=line["note"])
            self._say(job, run, progress, line.get("point"))

    def _say(
        self, job: JobContext, run: Run, progress: Progress, point: Mapping[str, Any] | None = None
    ) -> None:
        data: dict[str, Any] = {
            "done": progress.done,
            "total": progress.total,
            "note": progress.note,
        }
        if point is not None:
            data["point"] = dict(point)
        with self.database.write() as unit:
            job.progress_in(unit, progress)
            if not job.cancelled():
                runs.append(unit, run.id, runs.PROGRESS, data, at=self.clock.now())

    def _register(self, job: JobContext, run: Run, found: PublishedRun) -> Run:
        """Version, success and evaluation in one transaction, made by the lease's holder."""
        at = self.clock.now()
        with self.database.write() as unit:
            if not queue.holds(unit, job.record):
                job.stop(StopReason.LOST)
                raise Stopped
            version = versions.register(
                unit,
                task=run.task,
                task_revision=run.task_revision,
                artifact=found.name,
                store_version=found.version,
                manifest_digest=found.manifest_digest,
                recipe=run.recipe,
                run_id=run.id,
                snapshot_id=run.snapshot_id,
                at=at,
            )
            done = runs.succeed(unit, run.id, version_id=version.id, metrics=found.metrics, at=at)
            arguments = {"version_id": version.id, "snapshot_id": run.snapshot_id}
            queue.enqueue(unit, EVALUATION_JOB, arguments, at=at)
        _count(done)
        return done


def _left_in(home: Path) -> list[Path]:
    """The folders in a folder, if it is there."""
    return [path for path in home.iterdir() if path.is_dir()] if home.is_dir() else []


def _count(run: Run) -> None:
    started, finished = run.started_at, run.finished_at
    seconds = (finished - started).total_seconds() if started and finished else None
    metrics.ended(run.recipe, run.status, seconds)
