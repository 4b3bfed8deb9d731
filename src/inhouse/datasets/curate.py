"""From what was recorded and imported to examples, each with where it came from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, or_, select

from inhouse.core.errors import Invalid
from inhouse.datasets.dedupe import normalise
from inhouse.datasets.example import DropReason, Example, named_group, text_group, unit_group
from inhouse.datasets.tables import ImportedExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.feedback.quality import Vote, settle
from inhouse.feedback.submit import TARGETS, FeedbackKind
from inhouse.feedback.tables import Feedback
from inhouse.interactions.erase import ERASED
from inhouse.interactions.pseudonym import pseudonym, salt_of
from inhouse.interactions.tables import Interaction
from inhouse.tasks import outputs
from inhouse.tasks.spec import TaskSpec

_feedback = table_of(Feedback)
_interaction = table_of(Interaction)
_imported = table_of(ImportedExample)
_GROUP_TAGS = ("group", "document")
_CHUNK = 1000
_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated:
    """Examples without a split, and how many statements or rows were left out for which reason."""

    examples: tuple[Example, ...]
    dropped: dict[str, int]


def collect(
    unit: ReadUnit, spec: TaskSpec, *, since: datetime | None = None, until: datetime | None = None
) -> Curated:
    """Everything that may be learned from for this revision of the task.

    An interaction counts when it was corrected or its outcome is known; a known outcome outweighs
    opinions. What a model answered is never a target by itself. ``since`` (inclusive) and ``until``
    (exclusive) bound the time of the call, or of an imported row (when it happened, else when it
    was imported); feedback without its interaction is bounded by its own time.
    """
    dropped: Counter[str] = Counter()
    examples = [*_from_feedback(unit, spec, since, until, dropped)]
    examples += _from_imports(unit, spec, since, until, dropped)
    return Curated(examples=tuple(examples), dropped=dict(dropped))


def count_new(unit: ReadUnit, spec: TaskSpec, *, after: datetime | None = None, most: int) -> int:
    """How many calls got a usable correction or outcome after a moment, and how many examples were
    imported since; from the beginning without one. Counts what ``collect`` would use, up to
    ``most``."""
    dropped: Counter[str] = Counter()
    count = 0
    for about in _calls_said(unit, spec, after):
        if _refusal(spec, about[0]) is None:
            count += any(True for _ in _votes(spec, about, dropped))
            if count >= most:
                return most
    row = _imported.c
    imported = [row.task == spec.name, row.task_revision == spec.revision]
    if after is not None:
        imported.append(row.created_at > after)
    return min(most, count + _count(unit, *imported))


def count_authors(unit: ReadUnit, examples: Sequence[Example]) -> int:
    """How many people stand behind corrected examples; those without a name count as one."""
    ids = [one for example in examples for one in example.origin.get("feedback_ids", ())]
    found: set[str | None] = set()
    for these in _pieces(ids):
        said = select(_feedback.c.author).where(_feedback.c.id.in_(these)).distinct()
        found.update(unit.execute(said).scalars())
    return len(found)


def all_there(unit: WriteUnit, examples: Sequence[Example]) -> bool:
    """Whether nothing that these examples came from was erased since they were collected. None of
    it is until the unit ends: who erases it waits."""
    origins = [example.origin for example in examples]
    calls = {origin["interaction_id"] for origin in origins if "interaction_id" in origin}
    rows = {origin["imported_id"] for origin in origins if "imported_id" in origin}
    call, row = _interaction.c, _imported.c
    found = [select(call.id).where(call.id.in_(i), call.input != ERASED) for i in _pieces(calls)]
    found += [select(row.id).where(row.id.in_(ids)) for ids in _pieces(rows)]
    kept = 0
    for statement in found:
        held = statement.order_by(statement.selected_columns[0]).with_for_update(read=True)
        kept += len(unit.execute(held).all())
    return kept == len(calls) + len(rows)


def _count(unit: ReadUnit, *wanted: ColumnElement[bool]) -> int:
    return unit.execute(select(func.count()).where(*wanted)).scalar_one()


def _pieces(ids: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(ids)
    return (ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK))


def _from_feedback(
    unit: ReadUnit,
    spec: TaskSpec,
    since: datetime | None,
    until: datetime | None,
    dropped: Counter[str],
) -> Iterator[Example]:
    salt = salt_of(unit)
    statements = unit.execute(_said(spec, since, until))
    for _, rows in groupby(statements, lambda row: row.interaction_id):
        said = list(rows)
        reason = _refusal(spec, said[0])
        if reason is not None:
            dropped[reason.value] += len(said)
            continue
        votes = list(_votes(spec, said, dropped))
        if votes:
            yield _corrected(spec, said[0], votes, salt)


def _calls_said(unit: ReadUnit, spec: TaskSpec, after: datetime | None) -> Iterator[list[Row[Any]]]:
    """What was said after a moment about each call of this revision of a task, some hundred
    statements at a time."""
    mine = _interaction.c.task_revision == spec.revision
    statement, page = _said(spec, None, None, said_after=after).where(mine), _PAGE
    read = statement
    while rows := unit.execute(read.limit(page)).all():
        calls = [list(about) for _, about in groupby(rows, lambda row: row.interaction_id)]
        is_all = len(rows) < page
        if not is_all and len(calls) == 1:
            page *= 2
            continue
        yield from calls if is_all else calls[:-1]
        if is_all:
            return
        read = statement.where(_feedback.c.interaction_id > calls[-2][0].interaction_id)


def _said(
    spec: TaskSpec,
    since: datetime | None,
    until: datetime | None,
    *,
    said_after: datetime | None = None,
) -> Select[Any]:
    """Statements about this task's calls, and those whose call is not recorded, by interaction."""
    later = [] if said_after is None else [_feedback.c.created_at > said_after]
    when = func.coalesce(_interaction.c.created_at, _feedback.c.created_at)
    joined = _feedback.outerjoin(_interaction, _feedback.c.interaction_id == _interaction.c.id)
    return (
        select(
            _feedback.c.id.label("feedback_id"),
            _feedback.c.interaction_id,
            _feedback.c.kind,
            _feedback.c.value,
            _feedback.c.author,
            _feedback.c.created_at.label("said_at"),
            _interaction.c.id.label("found"),
            _interaction.c.task_revision,
            _interaction.c.input,
            _interaction.c.tags,
            _interaction.c.unit,
            _interaction.c.created_at.label("occurred_at"),
        )
        .select_from(joined)
        .where(
            _feedback.c.kind.in_([kind.value for kind in TARGETS]),
            or_(_interaction.c.id.is_(None), _interaction.c.task == spec.name),
            *_between(when, since, until),
            *later,
        )
        .order_by(_feedback.c.interaction_id, _feedback.c.created_at, _feedback.c.id)
    )


def _between(
    when: ColumnElement[Any], since: datetime | None, until: datetime | None
) -> list[ColumnElement[bool]]:
    bounds = []
    if since is not None:
        bounds.append(when >= since)
    if until is not None:
        bounds.append(when < until)
    return bounds


def _refusal(spec: TaskSpec, row: Row[Any]) -> DropReason | None:
    """Why nothing that was said about this call can be used."""
    if row.found is None:
        return DropReason.NO_INTERACTION
    if row.task_revision != spec.revision:
        return DropReason.OTHER_REVISION
    if not isinstance(row.input, str) or not row.input.strip():
        return DropReason.EMPTY_INPUT
    return None


def _votes(
    spec: TaskSpec, said: Sequence[Row[Any]], dropped: Counter[str]
) -> Iterator[tuple[FeedbackKind, Vote]]:
    for row in said:
        try:
            target = outputs.check(spec, row.value, row.input)
        except Invalid:
            dropped[DropReason.UNFIT_TARGET.value] += 1
            continue
        yield (
            FeedbackKind(row.kind),
            Vote(feedback_id=row.feedback_id, author=row.author, target=target, at=row.said_at),
        )


def _corrected(
    spec: TaskSpec, row: Row[Any], votes: Sequence[tuple[FeedbackKind, Vote]], salt: bytes
) -> Example:
    by_kind: defaultdict[FeedbackKind, list[Vote]] = defaultdict(list)
    for said, vote in votes:
        by_kind[said].append(vote)
    kind = FeedbackKind.OUTCOME if FeedbackKind.OUTCOME in by_kind else FeedbackKind.CORRECTION
    settled = settle(spec, by_kind[kind])
    return Example(
        input=row.input,
        target=settled.target,
        quality=settled.quality,
        group=_group_of(row, salt),
        origin={
            "kind": kind.value,
            "interaction_id": row.interaction_id,
            "feedback_ids": list(settled.feedback_ids),
        },
        occurred_at=row.occurred_at,
    )


def _group_of(row: Row[Any], salt: bytes) -> str:
    """What the call says it belongs to: a tag, else the unit it named, else its own text.

    A call that names no unit is recorded as a unit of its own, by its id.
    """
    tags = row.tags or {}
    for name in _GROUP_TAGS:
        if tags.get(name):
            return named_group(str(tags[name]))
    if row.unit and row.unit != pseudonym(salt, row.interaction_id):
        return unit_group(row.unit)
    return text_group(normalise(row.input))


def _from_imports(
    unit: ReadUnit,
    spec: TaskSpec,
    since: datetime | None,
    until: datetime | None,
    dropped: Counter[str],
) -> Iterator[Example]:
    when = func.coalesce(_imported.c.occurred_at, _imported.c.created_at)
    mine = [_imported.c.task == spec.name, *_between(when, since, until)]
    other = select(func.count()).where(*mine, _imported.c.task_revision != spec.revision)
    if count := unit.execute(other).scalar_one():
        dropped[DropReason.OTHER_REVISION.value] += count
    statement = (
        select(_imported)
        .where(*mine, _imported.c.task_revision == spec.revision)
        .order_by(_imported.c.content_hash)
    )
    for row in unit.execute(statement):
        group = row.group_key
        yield Example(
            input=row.input,
            target=row.target,
            weight=row.weight,
            group=named_group(group) if group else text_group(normalise(row.input)),
            origin={
                "kind": "import",
                "imported_id": row.id,
                "source": row.source,
                "row": row.row_number,
            },
            occurred_at=row.occurred_at,
        )
