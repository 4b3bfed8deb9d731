"""``/automation``: what begins by itself, and what people decide about it."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from inhouse.automation import records
from inhouse.automation.carry import open_of
from inhouse.automation.records import ProposalRecord
from inhouse.automation.steps import ProposalState, What
from inhouse.automation.tell import tell
from inhouse.core.errors import Conflict
from inhouse.dashboard.shell import Operating, Reading
from inhouse.dashboard.toasts import Undo
from inhouse.jobs import pause as pausing

router = APIRouter()

_SHOWN: Final = 50
_BADGES: Final = {
    ProposalState.OPEN: ("waiting", "Open"),
    ProposalState.ACCEPTED: ("live", "Accepted"),
    ProposalState.DONE: ("good", "Done"),
    ProposalState.DECLINED: ("failed", "Declined"),
    ProposalState.EXPIRED: ("", "Expired"),
}
_MODES: Final = {"off": ("", "Off"), "ask": ("waiting", "Ask"), "on": ("live", "On")}


@router.get("/automation")
def show(page: Reading) -> Response:
    """What is next for every task, what waits for a person, and what became of it."""
    app = page.app
    with app.database.read() as unit:
        found = tell(unit, app.proposals, app.catalog.all())
        waiting = open_of(unit)
        past = records.list_proposals(unit, limit=_SHOWN)
    return page.render(
        "automation/show.html",
        title="Automation",
        nav="automation",
        found=found,
        waiting=waiting,
        past=[one for one in past if one.state is not ProposalState.OPEN],
        modes=_MODES,
        badges=_BADGES,
        question=question,
        result=result_path,
    )


@router.post("/automation/proposals/{proposal_id}/accept")
def accept(proposal_id: str, page: Operating) -> Response:
    """Have it done."""
    app, reason = page.app, page.reason()
    with app.database.write() as unit:
        seen = records.get(unit, proposal_id)
        done = app.proposals.accept(unit, seen, actor=page.actor, reason=reason)
    app.routes.refresh([done.task])
    return page.redirect(result_path(done) or "/automation", toast="Accepted")


@router.post("/automation/proposals/{proposal_id}/decline")
def decline(proposal_id: str, page: Operating) -> Response:
    """Not this one."""
    app, reason = page.app, page.reason()
    with app.database.write() as unit:
        seen = records.get(unit, proposal_id)
        app.proposals.decline(unit, seen, actor=page.actor, reason=reason)
    return page.redirect("/automation", toast="Declined")


@router.post("/automation/pause")
def pause(page: Operating) -> Response:
    """Stop all background work."""
    app, reason = page.app, page.reason()
    with app.database.write() as unit:
        is_new = pausing.paused(unit) is None
        made = pausing.pause(unit, actor=page.actor, reason=reason, at=app.clock.now())
    undo = Undo("/automation/resume", {"paused": made.at.isoformat()}) if is_new else None
    return page.redirect("/automation", toast="Background work is paused", undo=undo)


@router.post("/automation/resume")
def resume(page: Operating) -> Response:
    """Go on with it; a form that names a pause ends that one alone."""
    named = page.sent.get("paused")
    with page.app.database.write() as unit:
        found = pausing.paused(unit)
        if named is not None and (found is None or found.at.isoformat() != named):
            raise Conflict(
                "that pause is over, or another one is in force",
                code="jobs-paused",
                hint="look at the page again",
            )
        pausing.resume(unit)
    return page.redirect("/automation", toast="Background work goes on")


def question(one: ProposalRecord) -> str:
    """A proposal in a few words."""
    match one.what:
        case What.TRAIN:
            return f"Train {one.task}"
        case What.EVALUATE:
            return f"Evaluate {one.about}"
        case What.ROLL_OUT:
            return f"Roll {one.about} out"


def result_path(one: ProposalRecord) -> str:
    """The page of what came of it; "" where there is none yet."""
    if rollout := one.result.get("rollout_id"):
        return f"/rollouts/{rollout}"
    if run := one.result.get("run_id"):
        return f"/training/{run}"
    return ""
