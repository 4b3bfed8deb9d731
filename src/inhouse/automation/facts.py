"""What ``when_to_train`` and ``when_to_roll_out`` ask for, read from what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select

from inhouse.automation import records
from inhouse.automation.records import ProposalRecord
from inhouse.automation.steps import ProposalState, Since, What
from inhouse.automation.when_to_roll_out import Against, Contest, Judged, Standing
from inhouse.automation.when_to_train import Drifted, LastRun, Learning
from inhouse.core.errors import Invalid, NotFound
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.core.states import RUNS, RunStatus, VersionStatus
from inhouse.datasets import snapshot
from inhouse.datasets.curate import count_new
from inhouse.datasets.example import check_learnable
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.evaluation.records import EvaluationRecord, list_evaluations
from inhouse.evaluation.run import pending
from inhouse.interactions.activity import NOT_COUNTED
from inhouse.interactions.counts import sums
from inhouse.interactions.filters import Facets, Span
from inhouse.monitoring.tables import Drift
from inhouse.registry import routes, versions
from inhouse.registry.routes import FULL, Route
from inhouse.registry.versions import Version
from inhouse.rollout import records as rollouts
from inhouse.rollout.plan import RolloutState
from inhouse.rollout.tables import SplitOwner
from inhouse.tasks.spec import TaskSpec
from inhouse.training import recipes, runs
from inhouse.training.runs import Run

_COST_WINDOW: Final = timedelta(days=7)
_LONGEST: Final = timedelta(days=1)
_drift = table_of(Drift)
_owners = table_of(SplitOwner)
_PENDING: Final = (ProposalState.OPEN, ProposalState.ACCEPTED)
_REFUSED: Final = (ProposalState.DECLINED, ProposalState.EXPIRED)
_WORDS: Final = {
    ProposalState.OPEN: "training is proposed and waits for a person",
    ProposalState.ACCEPTED: "training is accepted; a job prepares it",
}
_JOBS: Final = 1000


def learning(unit: ReadUnit, spec: TaskSpec, recipe: str, most: int) -> Learning:
    """What is known of a task's training; new examples are counted up to ``most``."""
    fault = _fault(spec, recipe)
    if fault:
        return Learning(fault=fault)
    made = runs.list_runs(unit, task=spec.name)
    proposed = records.list_proposals(unit, task=spec.name, what=What.TRAIN, limit=1)
    last, proposal = next(iter(made), None), next(iter(proposed), None)
    learned = _learned(made, spec)
    refused = proposal if proposal and proposal.state in _REFUSED else None
    moments = [run.created_at for run in (learned,) if run]
    since = [_snapshot_at(unit, run) for run in (learned,) if run]
    if refused is not None:
        moments.append(refused.decided_at or refused.created_at)
        since.append(moments[-1])
    pending = _WORDS[proposal.state] if proposal and proposal.state in _PENDING else ""
    is_free = not pending and (last is None or RUNS.is_final(last.status))
    newest = max(((one.created_at, one.id) for one in (last, proposal) if one), default=None)
    after = max(since, default=None)
    return Learning(
        pending=pending,
        trained=learned is not None,
        settled_at=max(moments, default=None),
        new=count_new(unit, spec, after=after, most=most) if is_free else 0,
        failures=_failures(made),
        last=_last(last),
        drift=_drifted(unit, spec),
        newest=newest[1] if newest else "",
    )


def _last(run: Run | None) -> LastRun | None:
    if run is None:
        return None
    return LastRun(id=run.id, created_at=run.created_at, is_over=RUNS.is_final(run.status))


def _fault(spec: TaskSpec, recipe: str) -> str:
    try:
        check_learnable(spec)
        recipes.check_kind(recipe or recipes.DEFAULT, spec)
    except Invalid as error:
        return error.message
    return ""


def _learned(made: Sequence[Run], spec: TaskSpec) -> Run | None:
    """The newest run that counts as an answer to what was there to learn: one that made a version,
    or that somebody cancelled."""
    ended = (RunStatus.SUCCEEDED, RunStatus.CANCELLED)
    mine = (run for run in made if run.task_revision == spec.revision and run.status in ended)
    return next(mine, None)


def _snapshot_at(unit: ReadUnit, run: Run) -> datetime:
    try:
        return snapshot.get(unit, run.snapshot_id, run.task).built_at
    except NotFound:
        return run.created_at


def _failures(made: Sequence[Run]) -> int:
    count = 0
    for run in made:
        if run.status is not RunStatus.FAILED:
            break
        count += 1
    return count


def _drifted(unit: ReadUnit, spec: TaskSpec) -> Drifted | None:
    """The newest look at what answers now, if it found drift."""
    serving = serving_of(_route(unit, spec))
    newest = (
        select(_drift.c.created_at, _drift.c.inputs, _drift.c.outputs, _drift.c.drifted)
        .where(_drift.c.task == spec.name, _drift.c.reference == serving)
        .order_by(_drift.c.created_at.desc(), _drift.c.id.desc())
        .limit(1)
    )
    row = unit.execute(newest).one_or_none()
    if row is None or not row.drifted:
        return None
    return Drifted(at=row.created_at, inputs=row.inputs, outputs=row.outputs)


def contest(unit: ReadUnit, spec: TaskSpec, now: datetime) -> Contest | None:
    """The newest version of the task as it is declared now, while it is a candidate or rejected."""
    mine = [
        one for one in versions.list_versions(unit, spec.name) if one.task_revision == spec.revision
    ]
    newest = max(mine, key=lambda one: one.number, default=None)
    if newest is None or newest.status not in (VersionStatus.CANDIDATE, VersionStatus.REJECTED):
        return None
    standing = standing_of(unit, spec)
    evaluations = list_evaluations(unit, version_id=newest.id)
    evaluation = next(iter(evaluations), None)
    judged = None
    if evaluation is not None:
        judged = judged_of(unit, evaluation, standing.serving, now)
    return Contest(
        reference=newest.reference,
        number=newest.number,
        standing=standing,
        never=_never(unit, newest, evaluations),
        evaluating=_evaluating(unit, newest, evaluation, now),
        judged=judged,
        settled=_settled(unit, spec, judged),
        asked_again=_asked_again(unit, spec, judged),
    )


def standing_of(unit: ReadUnit, spec: TaskSpec) -> Standing:
    """Who answers a task, and what moves its traffic."""
    route = _route(unit, spec)
    owner = unit.execute(select(_owners).where(_owners.c.task == spec.name)).one_or_none()
    found = None if owner is None else rollouts.open_of(unit, spec.name)
    is_split = owner is None and 0 < route.weight_bp < FULL
    return Standing(
        serving=serving_of(route),
        since=route.created_at,
        pin=route.pin,
        split=f"{route.weight_bp / 100:g} % to {route.candidate}" if is_split else "",
        owner="" if owner is None else owner.kind,
        ramping=found.candidate if found else "",
        state=_state(found) if found else "",
        number=_number(found.candidate, spec) if found else 0,
    )


def serving_of(route: Route) -> str:
    """What answers everything by default."""
    is_full = route.weight_bp == FULL and route.candidate is not None
    return (route.candidate or "") if is_full else route.incumbent


def judged_of(
    unit: ReadUnit, evaluation: EvaluationRecord, serving: str, now: datetime
) -> Judged | None:
    """What an evaluation says of a version and of what answers now; None while it runs."""
    if evaluation.status not in ("done", "failed"):
        return None
    gate: Mapping[str, Any] = evaluation.settings.get("gate", {})
    return Judged(
        id=evaluation.id,
        at=evaluation.created_at,
        error=evaluation.error or "",
        verdict=evaluation.verdict or "",
        reasons=tuple(evaluation.reasons or ()),
        margin=float(gate.get("margin", 0.0)),
        against=_against(unit, evaluation, serving, now),
    )


def since(unit: ReadUnit, spec: TaskSpec, proposal: ProposalRecord) -> Since:
    """What happened since a proposal was made."""
    if proposal.what is What.TRAIN:
        newest = runs.list_runs(unit, task=spec.name, limit=1)
        return Since(run=any(run.created_at > proposal.created_at for run in newest))
    version = versions.get(unit, spec.name, parse_reference(proposal.about).number)
    fits = version.task_revision == spec.revision
    evaluation = next(iter(list_evaluations(unit, version_id=version.id, limit=1)), None)
    serving = serving_of(_route(unit, spec))
    others = [one["other"] for one in (evaluation and evaluation.comparisons) or ()]
    return Since(
        status=version.status.value if fits else "of another revision of the task",
        judged_again=evaluation is not None and evaluation.id != proposal.based_on,
        compared=serving in others,
    )


def _route(unit: ReadUnit, spec: TaskSpec) -> Route:
    return routes.current(unit, spec.name) or routes.implicit(spec.name, spec.chain)


def _state(found: rollouts.RolloutRecord) -> str:
    return found.state.value


def _number(reference: str, spec: TaskSpec) -> int:
    parsed = parse_reference(reference)
    is_own = parsed.kind is ReferenceKind.VERSION and parsed.name == spec.name
    return parsed.number if is_own else 0


def _never(unit: ReadUnit, version: Version, evaluations: Sequence[EvaluationRecord]) -> str:
    """A person may take a rejected version back and start it; automation does not."""
    if version.status is VersionStatus.REJECTED:
        told = version.rejected or {}
        return f"rejected by {told.get('by', '')}: {told.get('why', '')}"
    if any(one.verdict == "fail" for one in evaluations):
        return "it failed its gate"
    for one in rollouts.list_rollouts(unit, version.task, limit=_JOBS):
        if one.candidate == version.reference and one.state is RolloutState.ROLLED_BACK:
            return "it was rolled back"
    return ""


def _evaluating(
    unit: ReadUnit, version: Version, newest: EvaluationRecord | None, now: datetime
) -> bool:
    """One that has run for a day without a job is of a process that died."""
    return bool(pending(unit, version.id)) or (
        newest is not None and newest.status == "running" and now - newest.created_at < _LONGEST
    )


def _settled(unit: ReadUnit, spec: TaskSpec, judged: Judged | None) -> str:
    found = judged and records.find(unit, spec.name, What.ROLL_OUT, judged.id)
    if not found:
        return ""
    match found.state:
        case ProposalState.OPEN:
            return f"its rollout is proposed and waits for a person: {found.why}"
        case ProposalState.DECLINED if found.decided_by == records.ACTOR:
            return f"{found.about} stays a candidate: {found.reason or found.why}"
        case _:
            said = f": {found.reason}" if found.reason else ""
            return f"the rollout of {found.about} was {found.state} by {found.decided_by}{said}"


def _asked_again(unit: ReadUnit, spec: TaskSpec, judged: Judged | None) -> str:
    found = judged and records.find(unit, spec.name, What.EVALUATE, judged.id)
    if not found:
        return ""
    match found.state:
        case ProposalState.OPEN:
            return "its evaluation is proposed and waits for a person"
        case ProposalState.DONE:
            return "its evaluation is asked for"
        case _:
            said = f": {found.reason}" if found.reason else ""
            return f"its evaluation was {found.state} by {found.decided_by}{said}"


def _against(
    unit: ReadUnit, evaluation: EvaluationRecord, serving: str, now: datetime
) -> Against | None:
    gaps = {one["other"]: one["difference"] for one in evaluation.comparisons or ()}
    results = {one["reference"]: one for one in evaluation.results or ()}
    gap, other, own = gaps.get(serving), results.get(serving), results.get(evaluation.candidate)
    if gap is None or other is None or own is None:
        return None
    return Against(
        other=serving,
        difference=gap["estimate"],
        low=gap["low"],
        high=gap["high"],
        score=other["figures"]["score"]["estimate"],
        own_p50_ms=_median(own),
        other_p50_ms=_median(other),
        cost_per_call=_cost_per_call(unit, evaluation.task, serving, now),
    )


def _median(result: Mapping[str, Any]) -> tuple[float, float] | None:
    found = (result["latency"] or {}).get("p50_ms")
    return None if found is None else (found["low"], found["high"])


def _cost_per_call(unit: ReadUnit, task: str, serving: str, now: datetime) -> float | None:
    """What a call of the last 7 days cost; own versions cost nothing."""
    if parse_reference(serving).kind is not ReferenceKind.UPSTREAM:
        return 0.0
    span = Span(since=now - _COST_WINDOW, until=now)
    facets = Facets(task=task, reference=serving)
    found = sums(unit, span, by=("reference",), facets=facets, without_arms=NOT_COUNTED)
    calls = sum(row.calls for row in found)
    return sum(row.cost for row in found) / calls if calls else None
