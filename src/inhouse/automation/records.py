"""Proposals as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, update

from inhouse.automation.steps import PROPOSALS, ProposalState, Step, What
from inhouse.automation.tables import Proposal
from inhouse.core.errors import Conflict, NotFound
from inhouse.core.ids import new_id
from inhouse.db.dialects import insert_ignore, table_of
from inhouse.db.unit import ReadUnit, WriteUnit

ACTOR = "automation"
"""Who decides what no person decided."""
_table = table_of(Proposal)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRecord:
    """A proposal as it stands; ``tables.Proposal`` says what the fields mean."""

    id: str
    task: str
    what: What
    about: str
    based_on: str
    why: str
    evidence: Mapping[str, float]
    state: ProposalState
    decided_by: str | None
    decided_at: datetime | None
    reason: str
    result: Mapping[str, str]
    created_at: datetime


def add(
    unit: WriteUnit,
    task: str,
    step: Step,
    *,
    state: ProposalState = ProposalState.OPEN,
    reason: str = "",
    at: datetime,
) -> ProposalRecord | None:
    """Store a conclusion; None when the same was concluded from the same before."""
    decided = state is not ProposalState.OPEN
    row = {
        "id": new_id(),
        "task": task,
        "what": step.what.value,
        "about": step.about,
        "based_on": step.based_on,
        "why": step.why,
        "evidence": dict(step.evidence),
        "state": state.value,
        "decided_by": ACTOR if decided else None,
        "decided_at": at if decided else None,
        "reason": reason,
        "result": {},
        "created_at": at,
    }
    unit.execute(insert_ignore(unit, Proposal).values(**row))
    kept = find(unit, task, step.what, step.based_on)
    return kept if kept is not None and kept.id == row["id"] else None


def move(
    unit: WriteUnit,
    seen: ProposalRecord,
    state: ProposalState,
    *,
    by: str,
    reason: str = "",
    at: datetime,
    result: Mapping[str, str] | None = None,
) -> ProposalRecord:
    """Bring it to another state by compare-and-set. Raises Conflict (``proposal-state``) when the
    state does not allow it, or somebody else was first."""
    if state not in PROPOSALS.table[seen.state]:
        raise _not_now(seen)
    values = {
        "state": state.value,
        "decided_by": by,
        "decided_at": at,
        "reason": reason or seen.reason,
        "result": {**seen.result, **(result or {})},
    }
    mine = (_table.c.id == seen.id, _table.c.state == seen.state.value)
    if unit.execute(update(_table).where(*mine).values(**values)).rowcount != 1:
        raise _not_now(get(unit, seen.id))
    return get(unit, seen.id)


def note(unit: WriteUnit, seen: ProposalRecord, **result: str) -> ProposalRecord:
    """Keep what came of a proposal. After ``move``, in its unit."""
    changed = update(_table).where(_table.c.id == seen.id)
    unit.execute(changed.values(result={**seen.result, **result}))
    return get(unit, seen.id)


def get(unit: ReadUnit, proposal_id: str) -> ProposalRecord:
    """The proposal with that id. Raises NotFound (``proposal-not-found``)."""
    row = unit.execute(select(_table).where(_table.c.id == proposal_id)).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no proposal {proposal_id}",
            code="proposal-not-found",
            hint="`inhouse automation status` shows those that are open",
        )
    return _record(row)


def find(unit: ReadUnit, task: str, what: What, based_on: str) -> ProposalRecord | None:
    """What was concluded from this before."""
    mine = (_table.c.task == task, _table.c.what == what.value, _table.c.based_on == based_on)
    row = unit.execute(select(_table).where(*mine)).one_or_none()
    return None if row is None else _record(row)


def list_proposals(
    unit: ReadUnit,
    *,
    task: str | None = None,
    what: What | None = None,
    state: ProposalState | None = None,
    limit: int = 50,
) -> list[ProposalRecord]:
    """Proposals, newest first."""
    statement = select(_table).order_by(_table.c.created_at.desc(), _table.c.id.desc()).limit(limit)
    if task is not None:
        statement = statement.where(_table.c.task == task)
    if what is not None:
        statement = statement.where(_table.c.what == what.value)
    if state is not None:
        statement = statement.where(_table.c.state == state.value)
    return [_record(row) for row in unit.execute(statement)]


def _not_now(seen: ProposalRecord) -> Conflict:
    return Conflict(
        f"proposal {seen.id} is {seen.state}"
        + (f" by {seen.decided_by}" if seen.decided_by else ""),
        code="proposal-state",
        hint="`inhouse automation status` shows those that are open",
    )


def _record(row: Row[Any]) -> ProposalRecord:
    fields = dict(row._mapping)
    return ProposalRecord(
        **{**fields, "what": What(fields["what"]), "state": ProposalState(fields["state"])}
    )
