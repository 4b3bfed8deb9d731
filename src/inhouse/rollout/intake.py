"""What is new for a rollout, or an experiment: outcomes that gateways recorded, and labels of their
answers.

Every gateway process numbers its outcomes in the order of its commits. A reader that remembers one
number for each misses none and counts none twice. Labels are late truths (feedback of kind
``outcome``) and audits of calls that were drawn: whoever gives one does not know the arm.
Corrections and ratings are never counted, because who corrects an answer chooses which.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy import ColumnElement, Row, Select, and_, or_, select

from inhouse.core.errors import Invalid
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.feedback.submit import FeedbackKind
from inhouse.feedback.tables import Feedback
from inhouse.interactions.outcomes import SHADOW
from inhouse.interactions.tables import Interaction, Outcome, OutcomeHead
from inhouse.rollout.intake_records import LabelRecord
from inhouse.rollout.plan import FULL_BP
from inhouse.rollout.tally import Seen
from inhouse.tasks import outputs
from inhouse.tasks.scoring import item_score
from inhouse.tasks.spec import TaskSpec

LATE: Final = timedelta(hours=1)
"""Longest time between the moment that feedback carries and the one when it, and the call that it
is about, can be read."""
_INCUMBENT, _CANDIDATE = "incumbent", "candidate"
_SPLIT: Final = (_INCUMBENT, _CANDIDATE)
_LABELS: Final = (FeedbackKind.OUTCOME.value, FeedbackKind.AUDIT.value)
_outcome = table_of(Outcome)
_head = table_of(OutcomeHead)
_feedback = table_of(Feedback)
_interaction = table_of(Interaction)
_copy = _interaction.alias("copy")


class Mover(Protocol):
    """A rollout, or an experiment: its task, and the revision of the route that it made last."""

    @property
    def task(self) -> str: ...

    @property
    def route_revision(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcomes in the order in which they count, by process and number. Everything up to the
    numbers of ``upto`` was looked at."""

    seen: list[Seen]
    upto: dict[str, int]


def heads(unit: ReadUnit) -> dict[str, int]:
    """The highest outcome number of every process."""
    return {row.process: row.number for row in unit.execute(select(_head))}


def outcomes(
    unit: ReadUnit,
    rollout: Mover,
    *,
    first_revision: int,
    after: Mapping[str, int],
    upto: Mapping[str, int],
    limit: int | None = None,
) -> Outcomes:
    """The outcomes of a rollout with numbers over ``after`` and up to ``upto``, at most ``limit``.

    Its own are those of its task whose calls were routed by a revision that it made.
    """
    found, reached = Outcomes([], {}), 0
    for process in sorted(upto):
        low, high = after.get(process, 0), upto[process]
        if high <= low:
            continue
        statement = (
            select(_outcome)
            .where(
                _outcome.c.process == process,
                _outcome.c.number > low,
                _outcome.c.number <= high,
                *_of(rollout, first_revision),
                or_(_is_split(), _is_shadow()),
            )
            .order_by(_outcome.c.number)
        )
        if limit is not None:
            statement = statement.limit(limit - reached)
        rows = unit.execute(statement).all()
        found.seen.extend(map(_seen, rows))
        reached += len(rows)
        if limit is not None and reached >= limit:
            found.upto[process] = rows[-1].number if rows else low
            break
        found.upto[process] = high
    return found


def labels(
    unit: ReadUnit,
    rollout: Mover,
    spec: TaskSpec,
    *,
    first_revision: int,
    known: Container[str],
    since: datetime,
) -> list[LabelRecord]:
    """Labels since a moment, oldest first; the first of every interaction that is not ``known``.

    A call that was not answered, or rescued, is as wrong as can be. A truth that is no output of
    the task, and one about content that is not kept, is no label.
    """

    def read(row: Row[Any]) -> LabelRecord | None:
        error = _error(spec, row, row.output, bad=row.bad)
        return None if error is None else _label(row, error)

    statement = _labelled(rollout, first_revision, since).where(_is_split())
    return _first(unit.execute(statement), known, read)


def pair_labels(
    unit: ReadUnit,
    rollout: Mover,
    spec: TaskSpec,
    *,
    first_revision: int,
    known: Container[str],
    since: datetime,
) -> list[LabelRecord]:
    """Labels of inputs that a shadow answered too, as ``labels`` has them: both answers are
    compared with the same truth. A word about one answer alone is no label of a pair."""

    def read(row: Row[Any]) -> LabelRecord | None:
        if _is_of_one(row):
            return None
        error = _error(spec, row, row.copied, bad=row.bad)
        paired = _error(spec, row, row.output, bad=row.paired_bad)
        return None if error is None or paired is None else _label(row, error, paired)

    statement = (
        _labelled(rollout, first_revision, since)
        .add_columns(_outcome.c.paired_bad, _copy.c.output.label("copied"))
        .join(_copy, _copy.c.shadow_of == _interaction.c.id)
        .where(_is_shadow())
    )
    return _first(unit.execute(statement), known, read)


def newest_label(unit: ReadUnit, since: datetime, now: datetime) -> datetime | None:
    """When the newest label since a moment was told; ``now`` at the latest: a label that carries a
    later time is from a clock that is ahead, and hides none of the others."""
    statement = (
        select(_feedback.c.created_at)
        .where(_feedback.c.kind.in_(_LABELS), _feedback.c.created_at >= since)
        .order_by(_feedback.c.created_at.desc())
        .limit(1)
    )
    found: datetime | None = unit.execute(statement).scalar_one_or_none()
    return None if found is None else min(found, now)


def split_of(rollout: Mover, first_revision: int) -> list[ColumnElement[bool]]:
    """What is true of outcomes of the two arms of a rollout."""
    return [*_of(rollout, first_revision), _is_split()]


def _labelled(rollout: Mover, first_revision: int, since: datetime) -> Select[Any]:
    """What was said since a moment about calls of a rollout, oldest first, and those calls."""
    return (
        select(
            _feedback.c.id.label("feedback_id"),
            _feedback.c.kind,
            _feedback.c.value,
            _outcome.c.interaction_id,
            _outcome.c.unit,
            _outcome.c.arm,
            _outcome.c.weight_bp,
            _outcome.c.bad,
            _interaction.c.input,
            _interaction.c.output,
            _interaction.c.task_revision,
        )
        .join(_outcome, _outcome.c.interaction_id == _feedback.c.interaction_id)
        .join(_interaction, _interaction.c.id == _feedback.c.interaction_id)
        .where(
            _feedback.c.kind.in_(_LABELS),
            _feedback.c.created_at >= since,
            *_of(rollout, first_revision),
        )
        .order_by(_feedback.c.created_at, _feedback.c.id)
    )


def _first(
    rows: Iterable[Row[Any]], known: Container[str], read: Callable[[Row[Any]], LabelRecord | None]
) -> list[LabelRecord]:
    """The first label of every call that is not known."""
    first: dict[str, LabelRecord] = {}
    for row in rows:
        if row.interaction_id in known or row.interaction_id in first:
            continue
        label = read(row)
        if label is not None:
            first[row.interaction_id] = label
    return list(first.values())


def _label(row: Row[Any], error: float, paired_error: float | None = None) -> LabelRecord:
    return LabelRecord(
        feedback_id=row.feedback_id,
        interaction_id=row.interaction_id,
        unit=row.unit or row.interaction_id,
        candidate=row.arm != _INCUMBENT,
        weight_bp=row.weight_bp,
        error=error,
        paired_error=paired_error,
    )


def _of(rollout: Mover, first_revision: int) -> list[ColumnElement[bool]]:
    return [
        _outcome.c.task == rollout.task,
        _outcome.c.route_revision >= first_revision,
        _outcome.c.route_revision <= rollout.route_revision,
    ]


def _is_split() -> ColumnElement[bool]:
    return and_(
        _outcome.c.arm.in_(_SPLIT), _outcome.c.weight_bp > 0, _outcome.c.weight_bp < FULL_BP
    )


def _is_shadow() -> ColumnElement[bool]:
    return and_(_outcome.c.arm == SHADOW, _outcome.c.paired_bad.is_not(None))


def _seen(row: Row[Any]) -> Seen:
    return Seen(
        process=row.process,
        number=row.number,
        candidate=row.arm == _CANDIDATE,
        weight_bp=row.weight_bp,
        bad=row.bad,
        paired_bad=row.paired_bad if row.arm == SHADOW else None,
        latency_s=row.latency_ms / 1e3,
        unit=row.unit or row.interaction_id,
    )


def _is_of_one(row: Row[Any]) -> bool:
    """Whether somebody said whether the answer that the caller got is right, and not what is."""
    return row.kind == FeedbackKind.AUDIT.value and "correct" in row.value


def _error(spec: TaskSpec, row: Any, output: Any, *, bad: bool) -> float | None:
    """How wrong an answer is by what was said of its call."""
    if row.task_revision != spec.revision:
        return None
    told = row.value
    if row.kind == FeedbackKind.AUDIT.value:
        if "correct" in told:
            return 0.0 if told["correct"] and not bad else 1.0
        told = told["output"]
    sent = row.input if isinstance(row.input, str) else None
    try:
        truth = outputs.check(spec, told, sent)
        if bad:
            return 1.0
        return 1.0 - item_score(spec, outputs.check(spec, output, sent), truth)
    except (Invalid, TypeError):
        return None
