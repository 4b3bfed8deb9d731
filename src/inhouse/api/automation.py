"""``/v1/automation``: what begins by itself, and what people decide about it."""

from __future__ import annotations

from fastapi import APIRouter

from inhouse.api.depends import Limit, OfTask, Operator, PathId, Reader, Wired
from inhouse.automation import records
from inhouse.automation.steps import ProposalState
from inhouse.automation.tell import tell
from inhouse.client.automation import Automation, Proposal, ProposalAccept, ProposalDecline

router = APIRouter(tags=["automation"])


@router.get("/v1/automation")
def show_automation(app: Wired, _: Reader, *, task: OfTask = None) -> Automation:
    """What is next for one task or for all, and which proposals are open."""
    specs = app.catalog.all() if task is None else [app.catalog.get(task)]
    with app.database.read() as unit:
        return Automation.model_validate(tell(unit, app.proposals, specs))


@router.get("/v1/automation/proposals")
def list_proposals(
    app: Wired,
    _: Reader,
    *,
    task: OfTask = None,
    state: ProposalState | None = None,
    limit: Limit = 50,
) -> list[Proposal]:
    """Proposals with what became of them, newest first."""
    with app.database.read() as unit:
        found = records.list_proposals(unit, task=task, state=state, limit=limit)
    return [Proposal.model_validate(one) for one in found]


@router.get("/v1/automation/proposals/{proposal_id}")
def show_proposal(proposal_id: PathId, app: Wired, _: Reader) -> Proposal:
    """One proposal."""
    with app.database.read() as unit:
        return Proposal.model_validate(records.get(unit, proposal_id))


@router.post("/v1/automation/proposals/{proposal_id}/accept")
def accept_proposal(
    proposal_id: PathId, request: ProposalAccept, app: Wired, who: Operator
) -> Proposal:
    """Have it done: a training run, an evaluation or a rollout begins."""
    with app.database.write() as unit:
        seen = records.get(unit, proposal_id)
        done = app.proposals.accept(unit, seen, actor=who.actor, reason=request.reason)
    app.routes.refresh([done.task])
    return Proposal.model_validate(done)


@router.post("/v1/automation/proposals/{proposal_id}/decline")
def decline_proposal(
    proposal_id: PathId, request: ProposalDecline, app: Wired, who: Operator
) -> Proposal:
    """Not this one. It comes back with new evidence only."""
    with app.database.write() as unit:
        seen = records.get(unit, proposal_id)
        done = app.proposals.decline(unit, seen, actor=who.actor, reason=request.reason)
    return Proposal.model_validate(done)
