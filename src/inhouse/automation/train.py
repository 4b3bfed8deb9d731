"""The job ``automation.train``: a proposal to train that was accepted becomes a training run.

The snapshot is built outside of any transaction that others wait for; the same content is the same
snapshot, so a job that died repeats it. The run is asked for in the transaction that ends the
proposal: there is one run for it, however often the job runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from inhouse.automation import records
from inhouse.automation.carry import Proposals
from inhouse.automation.records import ACTOR, ProposalRecord
from inhouse.automation.steps import ProposalState
from inhouse.core.errors import Conflict, Invalid
from inhouse.core.states import JobStatus, RunStatus
from inhouse.datasets import snapshot
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.snapshot import SnapshotRecord
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.jobs.handler import JobContext
from inhouse.jobs.queue import JobRecord
from inhouse.training import recipes, runs
from inhouse.training.execute import Training
from inhouse.training.runs import Run


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """Handler of the job ``{"proposal_id": ...}``. Its result is {run_id}, or {expired}: why there
    is no run."""

    database: Database
    training: Training
    proposals: Proposals

    def __call__(self, job: JobContext, arguments: dict[str, Any]) -> Mapping[str, Any]:
        with self.database.read() as unit:
            proposal = records.get(unit, arguments["proposal_id"])
        if proposal.state is not ProposalState.ACCEPTED:
            return dict(proposal.result)
        spec = self.training.catalog.get(proposal.task)
        job.progress(0, 2, "building the snapshot")
        try:
            built = snapshot.build_unlocked(
                self.database, spec, settings=BuildSettings(), at=self.training.clock.now()
            )
        except Invalid as error:
            return self._expire(proposal, error.message)
        job.progress(1, 2, "asking for the run")
        recipe = self.proposals.declared(spec).training.recipe or recipes.DEFAULT
        with self.database.write() as unit:
            if same := _same(unit, built, recipe):
                why = f"the examples are those of training run {same.id}"
            else:
                made = self._request(unit, proposal, built, recipe)
                return {"run_id": made.id}
        return self._expire(proposal, why)

    def follow(self, unit: WriteUnit, job: JobRecord, at: datetime) -> None:
        """A job that ended without a run ends its proposal."""
        proposal = records.get(unit, job.arguments["proposal_id"])
        ended = job.status in (JobStatus.FAILED, JobStatus.CANCELLED)
        if ended and proposal.state is ProposalState.ACCEPTED:
            why = job.error or f"job {job.id} was {job.status}"
            records.move(unit, proposal, ProposalState.EXPIRED, by=ACTOR, reason=why, at=at)

    def check_retry(self, unit: ReadUnit, job: JobRecord) -> None:
        """A proposal that has ended is not carried out again."""
        proposal = records.get(unit, job.arguments["proposal_id"])
        if proposal.state is not ProposalState.ACCEPTED:
            raise Conflict(
                f"proposal {proposal.id} is {proposal.state}",
                code="proposal-state",
                hint=f"start a run: `inhouse train start {proposal.task}`",
            )

    def _request(
        self, unit: WriteUnit, proposal: ProposalRecord, built: SnapshotRecord, recipe: str
    ) -> Run:
        seen = records.get(unit, proposal.id)
        at, state = self.training.clock.now(), ProposalState.DONE
        by = seen.decided_by or ACTOR
        taken = records.move(unit, seen, state, by=by, at=at)
        spec = self.training.catalog.get(proposal.task)
        run = self.training.request(unit, spec, built, recipe=recipe, actor=by)
        records.note(unit, taken, run_id=run.id)
        return run

    def _expire(self, proposal: ProposalRecord, why: str) -> Mapping[str, Any]:
        with self.database.write() as unit:
            seen = records.get(unit, proposal.id)
            at, state = self.training.clock.now(), ProposalState.EXPIRED
            records.move(unit, seen, state, by=ACTOR, reason=why, at=at)
        return {"expired": why}


def _same(unit: ReadUnit, built: SnapshotRecord, recipe: str) -> Run | None:
    """The newest run, when it learned the same in the same way and made a version."""
    newest = next(iter(runs.list_runs(unit, task=built.task, limit=1)), None)
    if newest is None or newest.status is not RunStatus.SUCCEEDED:
        return None
    same = newest.snapshot_hash == built.content_hash and newest.recipe == recipe
    return newest if same else None
