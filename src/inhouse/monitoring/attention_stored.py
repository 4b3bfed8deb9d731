"""What the database knows of that somebody should look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from inhouse.core.hashing import digest_of
from inhouse.core.states import JobStatus, RunStatus, VersionStatus
from inhouse.db.unit import ReadUnit
from inhouse.evaluation.gate import VerdictKind
from inhouse.evaluation.records import list_evaluations
from inhouse.gateway.keys import list_keys
from inhouse.gateway.limits.account import SERVER, UPSTREAM
from inhouse.gateway.limits.budget import NOTHING, WARN, shares
from inhouse.gateway.limits.report import Holder, account_of, holders, sum_by_account
from inhouse.interactions.spent import totals
from inhouse.jobs.pause import paused
from inhouse.jobs.queue import JobRecord, list_jobs
from inhouse.monitoring.concern import Code, Concern, Counted, Level
from inhouse.registry.routes import all_current
from inhouse.registry.versions import list_versions
from inhouse.rollout import conduct, experiment_records, records
from inhouse.rollout.decide import Kind
from inhouse.rollout.experiment_records import ExperimentRecord
from inhouse.rollout.findings import ExperimentState
from inhouse.rollout.plan import RolloutState
from inhouse.rollout.reconcile import ACTOR
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.settings import LimitSettings
from inhouse.training.execute import JOB as TRAINING_JOB
from inhouse.training.runs import list_runs

NEWS: Final = timedelta(days=1)
"""How long something that happened once is worth a look."""
_SUCCESS: Final = 0.95
_FEW: Final = 20
_RUNS: Final = 50
_ROLLOUTS: Final = 200
_JOBS: Final = 200
_ROUNDING: Final = 1e-9
_ENDED: Final = {
    ExperimentState.CONCLUDED: "has ended",
    ExperimentState.INCONCLUSIVE: "ran out of time",
    ExperimentState.STOPPED: "was stopped",
    ExperimentState.ABORTED: "was ended",
}
_REFUSED: Final = {UPSTREAM: "It is not asked, and chains go on to their next model,"}


def pause(unit: ReadUnit) -> list[Concern]:
    """Background work that somebody paused."""
    found = paused(unit)
    if found is None:
        return []
    return [
        Concern(
            code=Code.JOBS_PAUSED,
            level=Level.WARN,
            title="Background work is paused",
            text=f"{found.actor} paused it{f': {found.reason}' if found.reason else ''}. No job,"
            " training or rollout begins until somebody resumes it.",
            about="",
            since=found.at,
        )
    ]


def failing(counts: Iterable[Counted]) -> list[Concern]:
    """Tasks of whose calls in a window too many got no answer."""
    return [_failing(count) for count in counts if _is_failing(count)]


def _is_failing(count: Counted) -> bool:
    calls = count.answered + count.unanswered
    return calls >= _FEW and count.answered < _SUCCESS * calls


def _failing(count: Counted) -> Concern:
    calls = count.answered + count.unanswered
    return Concern(
        code=Code.CALLS_FAIL,
        level=Level.BAD,
        title=f"Calls of {count.task} fail",
        text=f"{count.unanswered:,} of {calls:,} in the window got no answer of a model.",
        about=count.task,
    )


def budgets(
    unit: ReadUnit, server: LimitSettings, upstreams: Mapping[str, LimitSettings], now: datetime
) -> list[Concern]:
    """Budgets of today (UTC) that are nearly or wholly used up."""
    limited = [one for one in holders(server, upstreams, list_keys(unit)) if one.limits.by_day]
    if not limited:
        return []
    used = sum_by_account(totals(unit, now.date().isoformat()))
    return [
        _budget(holder, name, amount, most)
        for holder in limited
        for name, amount, most in shares(holder.limits, used.get(account_of(holder), NOTHING))
        if amount >= most * holder.limits.warn_at - _ROUNDING
    ]


def _budget(holder: Holder, name: str, amount: float, most: float) -> Concern:
    whose = "the server" if holder.scope == SERVER else f"{holder.scope} {holder.name}"
    is_used = amount >= most - _ROUNDING
    refuses = is_used and holder.limits.on_limit != WARN
    effect = _REFUSED.get(holder.scope, "Calls are refused") + " until 00:00 UTC"
    effect = effect if refuses else "Answers carry a warning"
    return Concern(
        code=Code.BUDGET_USED if is_used else Code.BUDGET_NEAR,
        level=Level.BAD if refuses else Level.WARN,
        title=f"{name} of {whose} is {'used up' if is_used else 'nearly used up'}",
        text=f"{amount:,.6g} of {most:,.6g} today ({amount / most:.0%}). {effect}.",
        about=f"{holder.scope} {holder.id or holder.name} {name}",
    )


def rollouts(unit: ReadUnit, now: datetime) -> list[Concern]:
    """Tasks whose newest rollout is held, was ended by evidence in the last day, or has been paused
    for longer than that."""
    recent = reversed(records.list_rollouts(unit, limit=_RUNS))
    newest = {one.task: one for one in (*recent, *records.unfinished(unit))}
    looked_at = [one for one in newest.values() if _is_worth_a_look(one, now)]
    found = [_rollout(one, records.decisions(unit, one.id)[-1], now) for one in looked_at]
    return [one for one in found if one is not None]


def _is_worth_a_look(rollout: RolloutRecord, now: datetime) -> bool:
    if rollout.ended_at is None:
        return rollout.state in (RolloutState.HELD, RolloutState.PAUSED)
    return rollout.state is not RolloutState.DONE and rollout.ended_at > now - NEWS


def _paused(rollout: RolloutRecord, last: DecisionRecord) -> Concern:
    why = f": “{'; '.join(last.reasons)}”" if last.reasons else ""
    return Concern(
        code=Code.ROLLOUT_PAUSED,
        level=Level.WARN,
        title=f"The rollout of {rollout.candidate} is paused",
        text=f"{last.actor} paused it{why}. No step is taken until somebody resumes it.",
        about=rollout.task,
        since=last.created_at,
    )


def _rollout(rollout: RolloutRecord, last: DecisionRecord, now: datetime) -> Concern | None:
    """What evidence decided last, and a pause that was forgotten; nothing else that people do needs
    somebody's attention."""
    if rollout.state is RolloutState.PAUSED:
        return _paused(rollout, last) if now - last.created_at >= NEWS else None
    if last.actor != ACTOR or rollout.superseded_by is not None:
        return None
    mismatch = "mismatch" in last.evidence
    match last.kind:
        case Kind.HOLD:
            code = Code.SPLIT_MISMATCH if mismatch else Code.ROLLOUT_HELD
            level, word = Level.BAD if mismatch else Level.WARN, "is held"
        case Kind.ROLL_BACK:
            code, level, word = Code.ROLLOUT_ROLLED_BACK, Level.WARN, "was rolled back"
        case Kind.ABORT:
            code, level, word = Code.ROLLOUT_ABORTED, Level.WARN, "was ended"
        case _:
            return None
    why = "; ".join(last.reasons) or "see its decisions"
    return Concern(
        code=code,
        level=level,
        title=f"The rollout of {rollout.candidate} {word}",
        text=f"{why[0].upper()}{why[1:].rstrip('.')}.",
        about=rollout.task,
        since=last.created_at,
    )


def experiments(unit: ReadUnit, now: datetime) -> list[Concern]:
    """Experiments that ended by themselves in the last day; of those that people end, they know."""
    return [
        _experiment(one)
        for one in experiment_records.ended_since(unit, now - NEWS)
        if one.findings.ended_by == conduct.ACTOR
    ]


def _experiment(experiment: ExperimentRecord) -> Concern:
    """Worth knowing where it ran to its end, and a warning where something was wrong."""
    asked, why = experiment.question, experiment.findings.why or "See its page"
    is_whole = experiment.state in (ExperimentState.CONCLUDED, ExperimentState.INCONCLUSIVE)
    return Concern(
        code=Code.EXPERIMENT_ENDED,
        level=Level.INFO if is_whole else Level.WARN,
        title=f"The experiment of {asked.a} and {asked.b} {_ENDED[experiment.state]}",
        text=f"{why[0].upper()}{why[1:].rstrip('.')}.",
        about=experiment.id,
        since=experiment.ended_at,
    )


def training(unit: ReadUnit) -> list[Concern]:
    """Tasks whose newest run failed."""
    newest = {run.task: run for run in reversed(list_runs(unit, limit=_RUNS))}
    return [
        Concern(
            code=Code.TRAINING_FAILED,
            level=Level.WARN,
            title=f"Training for {run.task} failed",
            text=(run.error or "The run ended without a version").rstrip(".") + ".",
            about=run.id,
            since=run.finished_at,
        )
        for run in newest.values()
        if run.status is RunStatus.FAILED
    ]


def jobs(unit: ReadUnit, now: datetime) -> list[Concern]:
    """Jobs that failed for good in the last day and did not succeed since. Those that had to do the
    same, one within a day of the other, are one concern, about the first of them: a job that comes
    again is not told every time. Those of training runs are told as such."""
    failed = [
        job
        for job in list_jobs(unit, status=JobStatus.FAILED, limit=_JOBS)
        if job.name != TRAINING_JOB
    ]
    done = list_jobs(unit, status=JobStatus.DONE, limit=_JOBS) if failed else []
    alike: dict[str, list[JobRecord]] = {}
    for job in failed:
        if not _is_made_good(job, done):
            alike.setdefault(digest_of([job.name, job.arguments]), []).append(job)
    return [
        _job(some[0], first=_first_of(some))
        for some in alike.values()
        if _ended_at(some[0]) > now - NEWS
    ]


def _first_of(failed: Sequence[JobRecord]) -> JobRecord:
    """The first of those that failed behind each other; ``failed``: newest first."""
    first = failed[0]
    for older in failed[1:]:
        if _ended_at(first) - _ended_at(older) > NEWS:
            break
        first = older
    return first


def _ended_at(job: JobRecord) -> datetime:
    return job.finished_at or job.created_at


def _is_made_good(job: JobRecord, done: Sequence[JobRecord]) -> bool:
    return any(
        one.name == job.name and one.arguments == job.arguments and _ended_at(one) > _ended_at(job)
        for one in done
    )


def _job(job: JobRecord, *, first: JobRecord) -> Concern:
    return Concern(
        code=Code.JOB_FAILED,
        level=Level.WARN,
        title=f"The job {job.name} failed",
        text=f"{(job.error or 'It gave no reason').rstrip('.')}. After {job.attempts} of "
        f"{job.max_attempts} attempts; `inhouse jobs retry` queues it again.",
        about=first.id,
        since=first.finished_at,
    )


def gates(unit: ReadUnit) -> list[Concern]:
    """Tasks whose newest version waits behind a gate that it did not pass."""
    newest = {version.task: version for version in reversed(list_versions(unit))}
    found = []
    for version in newest.values():
        if version.status is not VersionStatus.CANDIDATE:
            continue
        evaluation = next(iter(list_evaluations(unit, version_id=version.id, limit=1)), None)
        if evaluation is None or evaluation.verdict in (None, VerdictKind.PASS):
            continue
        fails = evaluation.verdict == VerdictKind.FAIL
        found.append(
            Concern(
                code=Code.GATE_FAILED if fails else Code.GATE_INCONCLUSIVE,
                level=Level.WARN,
                title=f"{version.reference} {'failed' if fails else 'is not decided by'} its gate",
                text=(" ".join(evaluation.reasons or ()) or "See its evaluation").rstrip(".") + ".",
                about=evaluation.id,
                since=evaluation.finished_at,
            )
        )
    return found


def candidates(unit: ReadUnit) -> list[Concern]:
    """Tasks whose newest version passed its gate, and to which nothing was ever moved."""
    tried = {one.candidate for one in records.list_rollouts(unit, limit=_ROLLOUTS)}
    busy = {one.task for one in records.unfinished(unit)}
    routed = {name for one in all_current(unit) for name in (one.incumbent, one.candidate, one.pin)}
    newest = {version.task: version for version in reversed(list_versions(unit))}
    found = []
    for version in newest.values():
        name = version.reference
        if version.status is not VersionStatus.CANDIDATE or version.task in busy:
            continue
        if name in tried or name in routed:
            continue
        judged = next(iter(list_evaluations(unit, version_id=version.id, limit=1)), None)
        if judged is not None and judged.verdict == VerdictKind.PASS:
            found.append(
                Concern(
                    code=Code.CANDIDATE_WAITS,
                    level=Level.INFO,
                    title=f"{name} passed its gate and waits",
                    text="It gets no calls until a rollout of it is started.",
                    about=name,
                    since=judged.finished_at,
                )
            )
    return found
