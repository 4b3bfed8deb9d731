"""Arm-blind labels: a random share of a split's calls is drawn, and somebody says what is right.

A hash of the call's id draws, with the same share for both arms, so that nobody chooses. Whoever
answers gets to see input and output, and nothing that tells which arm it was. Only calls that were
drawn may get such a label, and each gets one. While a candidate shadows, the calls are those whose
copies it answered; shown is the answer that the caller got, and the label counts for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, and_, false, or_, select

from inhouse.core.errors import Conflict, Invalid, NotFound
from inhouse.core.hashing import digest_of
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.feedback import submit
from inhouse.feedback.submit import FeedbackKind, FeedbackRecord, Statement
from inhouse.feedback.tables import Feedback
from inhouse.gateway.route import Arm, draw
from inhouse.interactions.erase import ERASED
from inhouse.interactions.outcomes import SHADOW
from inhouse.interactions.redact import Redactor
from inhouse.interactions.tables import Interaction, Outcome
from inhouse.rollout import intake, split
from inhouse.rollout.owner import Owner, owner_of
from inhouse.rollout.plan import FULL_BP
from inhouse.tasks import outputs
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec

MOST: Final = 100
LOOKED_THROUGH: Final = 20_000
"""Calls that one search for drawn ones reads at most, from the newest on."""
JUDGE: Final = "judge:"
"""How the authors of labels begin that a model gave."""
_SALT: Final = "audit"
_FULL: Final = 1 << 64
_PAGE: Final = 500
_SPLIT: Final = (Arm.INCUMBENT.value, Arm.CANDIDATE.value)
_LABELS: Final = (FeedbackKind.AUDIT.value, FeedbackKind.OUTCOME.value)
_interaction = table_of(Interaction)
_outcome = table_of(Outcome)
_feedback = table_of(Feedback)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A call to be audited. ``output`` is None where there was no answer."""

    interaction_id: str
    input: Any
    output: Any


def is_drawn(share: float, interaction_id: str) -> bool:
    """Whether a call belongs to the share; the same for every process and at any time."""
    return draw(_SALT, interaction_id) < share * _FULL


def open_audit(unit: ReadUnit, task: str) -> Owner:
    """The rollout or experiment of a task whose calls are audited. Raises NotFound
    (``split-not-found``) when none runs, Conflict (``audit-off``) when it draws nothing."""
    found = owner_of(unit, task)
    if found is None:
        raise NotFound(
            f"no rollout or experiment of {task} runs",
            code="split-not-found",
            hint="calls are drawn while traffic is split, or a candidate shadows",
        )
    if not found.audit:
        raise Conflict(
            f"{split.A[found.kind]} of {task} runs, and draws no calls for an audit",
            code="audit-off",
            hint=f"set audit in [tasks.{task}.rollout] before the next one starts; experiments draw"
            " calls for the metrics correct and error",
        )
    return found


def next_drawn(unit: ReadUnit, spec: TaskSpec, owner: Owner, limit: int) -> list[Drawn]:
    """Calls of a split that were drawn and have no label yet, newest first, at most ``limit``.
    Those whose content is not kept cannot be audited.

    Raises Invalid (``limit``) when ``limit`` is not in 1..100.
    """
    if not 1 <= limit <= MOST:
        raise Invalid(f"limit is {limit}", code="limit", hint=f"ask for 1 to {MOST}")
    found: list[Drawn] = []
    for ids in _pages(unit, owner, _of(spec, owner)):
        drawn = [one for one in ids if is_drawn(owner.audit, one)]
        known = {one for one, _ in _labels_of(unit, drawn)}
        found += _contents(unit, [one for one in drawn if one not in known])
        if len(found) >= limit:
            break
    return found[:limit]


def label(
    unit: WriteUnit,
    catalog: Catalog,
    spec: TaskSpec,
    interaction_id: str,
    value: Mapping[str, Any],
    *,
    author: str,
    at: datetime,
    redactor: Redactor | None = None,
) -> FeedbackRecord:
    """Store what is right about a drawn call: ``value`` is ``{"output": right output}`` or
    ``{"correct": bool}``; of a shadow the former, because two answers are compared with it. The
    first label counts; the same said again changes nothing.

    Raises NotFound and Conflict as ``open_audit`` does, Invalid (``audit-value``, ``output``) for a
    value that is neither, Conflict (``audit-not-drawn``) for a call that was not drawn,
    (``audit-labelled``) for one that has another label, (``interaction-erased``).
    """
    owner = open_audit(unit, spec.name)
    _check_drawn(unit, owner, interaction_id)
    said = Statement(
        interaction_id=interaction_id,
        kind=FeedbackKind.AUDIT,
        value=_value(unit, spec, owner, interaction_id, value),
        author=author,
    )
    submit.check_size(said.kind, said.value)
    if redactor is not None and "output" in said.value:
        clean = submit.redacted(replace(said, value=said.value["output"]), redactor, catalog)
        said = replace(said, value={"output": clean.value})
    if (interaction_id, FeedbackKind.OUTCOME.value) in _labels_of(unit, [interaction_id]):
        raise _labelled_before(interaction_id)
    try:
        key = f"audit:{digest_of(interaction_id)}"
        return submit.store(unit, said, key=key, at=at, catalog=catalog)[0]
    except Conflict as error:
        if error.code != "idempotency-mismatch":
            raise
        raise _labelled_before(interaction_id) from None


def check_judge(spec: TaskSpec, judge: str, *arms: str) -> None:
    """Raise Invalid (``audit-judge``) for a judge that cannot judge, or would judge itself; "" is
    none."""
    if not judge:
        return
    why = ""
    if spec.kind is TaskKind.TEXT:
        why = f"{spec.name} is of kind text, and two right texts differ: no model can judge it so"
    elif parse_reference(judge).kind not in (ReferenceKind.UPSTREAM, ReferenceKind.EMBEDDED):
        why = f"{judge} is no general model"
    elif judge in arms:
        why = f"{judge} would judge its own answers"
    if why:
        raise Invalid(
            why,
            code="audit-judge",
            hint=f"set judge in [tasks.{spec.name}.rollout] to another model, or leave it out",
        )


def _of(spec: TaskSpec, owner: Owner) -> Select[Any]:
    """The calls of its split, or the copies that its shadow answered, for the task as it is
    declared now."""
    table, since = _interaction.c, owner.since
    split = (table.arm.in_(_SPLIT), table.weight_bp > 0, table.weight_bp < FULL_BP)
    return (
        select(table.id, table.created_at, table.shadow_of)
        .where(
            table.task == owner.task,
            table.task_revision == spec.revision,
            false() if since is None else table.created_at >= since - intake.LATE,
            table.route_revision >= owner.first_revision,
            table.route_revision <= owner.route_revision,
            *((table.arm == SHADOW, table.shadow_of.is_not(None)) if owner.shadows else split),
        )
        .order_by(table.created_at.desc(), table.id.desc())
    )


def _pages(unit: ReadUnit, owner: Owner, calls: Select[Any]) -> Iterator[list[str]]:
    """The ids of the callers' calls."""
    table, page = _interaction.c, calls
    for _ in range(LOOKED_THROUGH // _PAGE):
        rows = unit.execute(page.limit(_PAGE)).all()
        if rows:
            yield [row.shadow_of if owner.shadows else row.id for row in rows]
        if len(rows) < _PAGE:
            return
        at, last = rows[-1].created_at, rows[-1].id
        page = calls.where(
            table.created_at <= at,
            or_(table.created_at < at, and_(table.created_at == at, table.id < last)),
        )


def _contents(unit: ReadUnit, ids: Sequence[str]) -> list[Drawn]:
    table = _interaction.c
    statement = (
        select(table.id, table.input, table.output)
        .where(table.id.in_(ids))
        .order_by(table.created_at.desc(), table.id.desc())
    )
    return [
        Drawn(interaction_id=row.id, input=row.input, output=row.output)
        for row in unit.execute(statement)
        if _is_kept(row.input)
    ]


def _is_kept(said: Any) -> bool:
    return said != ERASED and not (isinstance(said, Mapping) and set(said) == {"sha256"})


def _labels_of(unit: ReadUnit, ids: Sequence[str]) -> list[tuple[str, str]]:
    statement = select(_feedback.c.interaction_id, _feedback.c.kind).where(
        _feedback.c.interaction_id.in_(ids), _feedback.c.kind.in_(_LABELS)
    )
    return [(row.interaction_id, row.kind) for row in unit.execute(statement)]


def _check_drawn(unit: ReadUnit, owner: Owner, interaction_id: str) -> None:
    statement = select(_outcome.c.interaction_id).where(
        _outcome.c.interaction_id == interaction_id,
        _outcome.c.task == owner.task,
        _outcome.c.arm.in_((SHADOW,) if owner.shadows else _SPLIT),
        _outcome.c.route_revision >= owner.first_revision,
        _outcome.c.route_revision <= owner.route_revision,
    )
    is_of_split = unit.execute(statement).first() is not None
    if not is_of_split or not is_drawn(owner.audit, interaction_id):
        raise Conflict(
            f"interaction {interaction_id} was not drawn for the audit of {owner.task}",
            code="audit-not-drawn",
            hint=f"who chooses calls spoils the comparison; `inhouse feedback audit {owner.task}`"
            " shows those that were drawn",
        )


def _value(
    unit: ReadUnit, spec: TaskSpec, owner: Owner, interaction_id: str, value: Mapping[str, Any]
) -> dict[str, Any]:
    if set(value) == {"correct"} and isinstance(value["correct"], bool):
        if not owner.shadows:
            return dict(value)
        raise Invalid(
            "a candidate answered this call too, so whether one answer is correct says too little",
            code="audit-value",
            hint='say what is right: {"output": ...}',
        )
    if set(value) != {"output"}:
        raise Invalid(
            "a label says the right output, or whether the answer is correct",
            code="audit-value",
            hint='{"output": ...} or {"correct": true}',
        )
    asked = select(_interaction.c.input).where(_interaction.c.id == interaction_id)
    sent = unit.execute(asked).scalar_one_or_none()
    text = sent if isinstance(sent, str) else None
    return {"output": outputs.check(spec, value["output"], text)}


def _labelled_before(interaction_id: str) -> Conflict:
    return Conflict(
        f"interaction {interaction_id} has a label already",
        code="audit-labelled",
        hint="the first one counts",
    )
