"""The registry and the ModelStore in step: what must stay, what is missing, the scrub as a job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from inhouse.core.clock import Clock
from inhouse.core.errors import Conflict
from inhouse.core.states import JobStatus, VersionStatus
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.jobs import queue
from inhouse.jobs.handler import JobContext
from inhouse.jobs.queue import JobRecord
from inhouse.registry import retire, versions
from inhouse.registry.versions import Version
from inhouse.store.examine import Finding
from inhouse.store.manifest import Manifest
from inhouse.store.prune import Policy
from inhouse.store.store import ModelStore
from inhouse.tasks.spec import TaskSpec

SCRUB: Final = "store.scrub"
_MB: Final = 1_000_000
_MOST: Final = 10_000
_SHOWN: Final = 50


def policy(database: Database, specs: Iterable[TaskSpec], *, grace: timedelta, keep: int) -> Policy:
    """What ``prune`` leaves alone besides what the store itself knows: registered versions that are
    not archived, archived ones that a route names all the same, and what a training run that has
    not ended has published."""
    known = tuple(specs)

    def needed(name: str, version: str, manifest: Manifest | None) -> str:
        with database.read() as unit:
            registered = versions.of_artifact(unit, name, version)
            for each in registered:
                if each.status is not VersionStatus.ARCHIVED:
                    return f"{each.reference} is {each.status}"
                if standing := retire.users(unit, known, each.reference):
                    return f"{each.reference} serves: {'; '.join(standing)}"
            run_id = manifest.lineage.run_id if manifest is not None else None
            running = run_id is not None and not registered and run_id in _unfinished(unit)
        return f"training run {run_id} has not ended" if running else ""

    return Policy(needed=needed, grace=grace, keep=keep)


def _unfinished(unit: ReadUnit) -> set[object]:
    """Ids of the runs whose jobs are queued or running."""
    return {
        job.arguments.get("run_id")
        for status in (JobStatus.QUEUED, JobStatus.RUNNING)
        for job in queue.list_jobs(unit, status=status, limit=_MOST)
    }


def missing(database: Database, store: ModelStore) -> list[Finding]:
    """Registered versions, not archived, that the store does not hold as they were registered. Only
    manifests are looked at; ``ModelStore.verify`` reads the files."""
    held = {(entry.name, entry.version): entry for entry in store.list()}
    found = []
    with database.read() as unit:
        registered = versions.list_versions(unit)
    for version in registered:
        entry = held.get((version.artifact, version.store_version))
        if version.status is VersionStatus.ARCHIVED or (entry is not None and not entry.manifest):
            continue  # a manifest that cannot be read is the store's own finding
        actual = entry.manifest_digest if entry is not None else ""
        if actual != version.manifest_digest:
            found.append(_finding(version, actual))
    return found


def _finding(version: Version, actual: str) -> Finding:
    return Finding(
        model=version.artifact,
        version=version.store_version,
        file="manifest.json",
        problem="digest" if actual else "missing",
        expected=version.manifest_digest if actual else "",
        actual=actual,
        detail=f"registered as {version.reference}",
    )


def request_scrub(unit: WriteUnit, clock: Clock, *, rate_mb_s: float) -> JobRecord:
    """Queue a scrub of the whole store that reads at most ``rate_mb_s`` megabytes a second.

    Raises Conflict (``scrub-queued``) while another one is queued or running.
    """
    for status in (JobStatus.QUEUED, JobStatus.RUNNING):
        for job in queue.list_jobs(unit, status=status, name=SCRUB, limit=1):
            raise Conflict(
                f"scrub {job.id} is {job.status}",
                code="scrub-queued",
                hint=f"`inhouse jobs show {job.id}` says how far it is",
            )
    return queue.enqueue(unit, SCRUB, {"rate_mb_s": rate_mb_s}, at=clock.now())


@dataclass(frozen=True, slots=True)
class Scrub:
    """Handler of the job ``store.scrub``: reads every file again, slowly, and quarantines what is
    damaged. Safe to repeat. Its result is {findings, messages (the first 50)}."""

    database: Database
    store: ModelStore

    def __call__(self, job: JobContext, arguments: dict[str, Any]) -> Mapping[str, Any]:
        rate = float(arguments["rate_mb_s"]) * _MB

        def pause(read: int) -> None:
            job.wait(read / rate)
            job.check()

        def progress(what: str, done: int, total: int) -> None:
            job.progress(done / _MB, total / _MB, what)

        findings = [
            *self.store.scrub(pause=pause, progress=progress),
            *missing(self.database, self.store),
        ]
        messages = [each.message for each in findings[:_SHOWN]]
        return {"findings": len(findings), "messages": messages}
