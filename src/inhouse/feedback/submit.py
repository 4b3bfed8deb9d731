"""Taking in a statement about an interaction, exactly once."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, select

from inhouse.core.errors import Conflict, Invalid
from inhouse.core.hashing import canonical_json, digest_of
from inhouse.core.ids import is_id, new_id
from inhouse.db.dialects import insert_ignore, table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.feedback.tables import Feedback
from inhouse.interactions.erase import is_erased
from inhouse.interactions.redact import Redactor
from inhouse.interactions.tables import Interaction
from inhouse.tasks import outputs
from inhouse.tasks.catalog import Catalog

_table = table_of(Feedback)
_interaction = table_of(Interaction)
_AUTHOR_LENGTH = 128
_VALUE_BYTES = 16_384


class FeedbackKind(StrEnum):
    """What is said: the right output, a mark, a truth that came late, or words; and of calls that
    were drawn for the audit of a split, what is right about them (``rollout.audit``)."""

    CORRECTION = "correction"
    RATING = "rating"
    OUTCOME = "outcome"
    COMMENT = "comment"
    AUDIT = "audit"


TARGETS = (FeedbackKind.CORRECTION, FeedbackKind.OUTCOME)
_SAID = tuple(kind for kind in FeedbackKind if kind is not FeedbackKind.AUDIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRecord:
    """A stored statement. ``value``: an output of the task (correction, outcome), a number in
    [0, 1] (rating), text (comment), {output} or {correct} (audit). ``idempotency_key``: the name
    under which it is stored once.
    """

    id: str
    interaction_id: str
    kind: FeedbackKind
    value: Any
    author: str | None
    created_at: datetime
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement in its one form, checked as far as that goes without its interaction."""

    interaction_id: str
    kind: FeedbackKind
    value: Any
    author: str | None

    def key_after(self, previous: str | None) -> str:
        """The name of a statement that brings no key: its content, and the one said before it.

        ``previous`` is the key of what the same author said last, in this kind, about the same
        interaction. So a repeat has the same name, and a change of mind and back is news.
        """
        content = [self.interaction_id, self.kind, self.value, self.author, previous]
        return "content:" + digest_of(content)


def submit(
    unit: WriteUnit,
    *,
    interaction_id: str,
    kind: str,
    value: Any,
    author: str | None,
    idempotency_key: str | None,
    at: datetime,
    catalog: Catalog,
    redactor: Redactor | None = None,
) -> FeedbackRecord:
    """Store a statement, or return the one that is there.

    A repeat is one with the same ``idempotency_key``; without a key, one that says what its author
    said last. The interaction need not be recorded yet: then a correction's value is checked when
    examples are curated. When it is, and its task is declared as it was then, the value must be a
    valid output. ``redactor`` is applied before anything is stored. Raises Invalid
    (``interaction-id``, ``feedback-kind``, ``feedback-value``, ``feedback-author``, ``output``),
    Conflict (``idempotency-mismatch``) when the key was used for another statement,
    (``interaction-erased``) when the interaction's content was erased.
    """
    statement = read(interaction_id=interaction_id, kind=kind, value=value, author=author)
    if redactor is not None:
        statement = redacted(statement, redactor, catalog)
    key = None if idempotency_key is None else "key:" + digest_of(idempotency_key)
    return store(unit, statement, key=key, at=at, catalog=catalog)[0]


def read(*, interaction_id: Any, kind: Any, value: Any, author: Any) -> Statement:
    """Bring a statement into its one form. Raises Invalid; looks at nothing stored."""
    if not isinstance(interaction_id, str) or not is_id(interaction_id):
        raise Invalid("interaction_id is not the id of an interaction", code="interaction-id")
    try:
        known = FeedbackKind(kind)
    except ValueError:
        raise Invalid(
            f"{kind!r} is no kind of feedback",
            code="feedback-kind",
            hint="kinds: " + ", ".join(_SAID),
        ) from None
    return Statement(
        interaction_id=interaction_id,
        kind=known,
        value=_value(known, value),
        author=_author(author),
    )


def redacted(statement: Statement, redactor: Redactor, catalog: Catalog) -> Statement:
    """The statement as it may be stored: text in its value redacted. A label that some task
    declares stays as it is, so that a right correction stays one."""
    value = statement.value
    if isinstance(value, Mapping) and set(value) == {"label"}:
        label = value["label"]
        if any(label in spec.labels for spec in catalog.all()):
            return statement
    return replace(statement, value=redactor.apply(value))


def store(
    unit: WriteUnit, statement: Statement, *, key: str | None, at: datetime, catalog: Catalog
) -> tuple[FeedbackRecord, bool]:
    """Store a statement under a key (None: its content's). Says whether it is new."""
    if key is not None and (stored := _by_key(unit, key)) is not None:
        return _same(stored, statement), False
    if key is None:
        last = _last_of(unit, statement)
        if last is not None and last.value == statement.value:
            return last, False
        key = statement.key_after(last.idempotency_key if last else None)
    _check_target(unit, statement, catalog)
    row = {
        "id": new_id(),
        "interaction_id": statement.interaction_id,
        "kind": statement.kind.value,
        "value": statement.value,
        "author": statement.author,
        "created_at": at,
        "idempotency_key": key,
    }
    unit.execute(insert_ignore(unit, Feedback).values(**row))
    stored = _by_key(unit, key)
    if stored is None:
        raise Conflict("the statement was removed while it was stored", code="feedback-removed")
    return _same(stored, statement), stored.id == row["id"]


def hold(unit: WriteUnit, interaction_ids: Collection[str]) -> None:
    """Keep calls from being erased until the unit ends: who stores statements about several holds
    all of them first, in the order in which an erasure takes them, so that neither waits for the
    other."""
    these = _interaction.c.id.in_(interaction_ids)
    ordered = select(_interaction.c.id).where(these).order_by(_interaction.c.id)
    unit.execute(ordered.with_for_update(read=True))


def list_for(unit: ReadUnit, interaction_id: str) -> list[FeedbackRecord]:
    """Everything that was said about an interaction, oldest first; nothing for an unknown one."""
    statement = (
        select(_table)
        .where(_table.c.interaction_id == interaction_id)
        .order_by(_table.c.created_at, _table.c.id)
    )
    return [_record(row) for row in unit.execute(statement)]


def _value(kind: FeedbackKind, value: Any) -> Any:
    match kind:
        case FeedbackKind.AUDIT:
            raise Invalid(
                "an audit is told of calls that were drawn for it",
                code="feedback-kind",
                hint="`inhouse feedback audit TASK`, or POST /v1/tasks/{task}/audit",
            )
        case FeedbackKind.RATING:
            return _rating(value)
        case FeedbackKind.COMMENT:
            if not isinstance(value, str) or not value.strip():
                raise Invalid("a comment is text", code="feedback-value")
        case FeedbackKind.CORRECTION | FeedbackKind.OUTCOME:
            value = _target(kind, value)
    check_size(kind, value)
    return value


def check_size(kind: FeedbackKind, value: Any) -> None:
    """Raise Invalid (``feedback-value``) for a value that is too big to be stored."""
    if not _fits(value):
        raise Invalid(
            f"the value of a {kind} is at most {_VALUE_BYTES} bytes of JSON", code="feedback-value"
        )


def _rating(value: Any) -> float:
    number = float(value) if isinstance(value, bool) else _number(value)
    if number is None or not 0.0 <= number <= 1.0:
        raise Invalid("a rating is true, false or a number from 0 to 1", code="feedback-value")
    return number


def _target(kind: FeedbackKind, value: Any) -> Any:
    """The one form of an output, without its task: ``"x"`` is a label, ``0.5`` a value."""
    if isinstance(value, Mapping) and set(value) in ({"label"}, {"value"}):
        inner = next(iter(value.values()))
        value = value if isinstance(inner, Mapping | list) else inner
    if isinstance(value, str):
        return {"label": value}
    if isinstance(value, Mapping | list):
        return value
    number = _number(value)
    if number is not None:
        return {"value": number}
    raise Invalid(f"the value of a {kind} is an output of the task", code="feedback-value")


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _fits(value: Any) -> bool:
    try:
        return len(canonical_json(value)) <= _VALUE_BYTES
    except (TypeError, ValueError):
        return False


def _author(author: Any) -> str | None:
    if author is None:
        return None
    if (
        not isinstance(author, str)
        or not 1 <= len(author) <= _AUTHOR_LENGTH
        or not author.isprintable()
    ):
        raise Invalid(
            f"an author is a name of 1 to {_AUTHOR_LENGTH} printable characters",
            code="feedback-author",
        )
    return author


def _check_target(unit: WriteUnit, statement: Statement, catalog: Catalog) -> None:
    """Refuse an output that its task does not know, where the interaction is recorded, and anything
    about one that was erased; it is not until the unit ends, who erases it waits."""
    held = (
        select(_interaction.c.task, _interaction.c.task_revision, _interaction.c.input)
        .where(_interaction.c.id == statement.interaction_id)
        .with_for_update(read=True)
    )
    row = unit.execute(held).one_or_none()
    if row is not None and is_erased(row.input):
        raise Conflict(
            f"interaction {statement.interaction_id} was erased",
            code="interaction-erased",
            hint="nothing more is kept about it",
        )
    if statement.kind not in TARGETS:
        return
    spec = next((s for s in catalog.all() if row is not None and s.name == row.task), None)
    if row is not None and spec is not None and spec.revision == row.task_revision:
        sent = row.input if isinstance(row.input, str) else None
        outputs.check(spec, statement.value, sent)


def _last_of(unit: ReadUnit, statement: Statement) -> FeedbackRecord | None:
    found = (
        select(_table)
        .where(
            _table.c.interaction_id == statement.interaction_id,
            _table.c.kind == statement.kind.value,
            _table.c.author.is_not_distinct_from(statement.author),
        )
        .order_by(_table.c.created_at.desc(), _table.c.id.desc())
        .limit(1)
    )
    row = unit.execute(found).one_or_none()
    return None if row is None else _record(row)


def _by_key(unit: ReadUnit, key: str) -> FeedbackRecord | None:
    row = unit.execute(select(_table).where(_table.c.idempotency_key == key)).one_or_none()
    return None if row is None else _record(row)


def _same(stored: FeedbackRecord, statement: Statement) -> FeedbackRecord:
    said = (stored.interaction_id, stored.kind, stored.value, stored.author)
    if said != (statement.interaction_id, statement.kind, statement.value, statement.author):
        raise Conflict(
            "this Idempotency-Key was used for another statement",
            code="idempotency-mismatch",
            hint="a new statement takes a new key",
        )
    return stored


def _record(row: Row[Any]) -> FeedbackRecord:
    fields = dict(row._mapping)
    return FeedbackRecord(**{**fields, "kind": FeedbackKind(fields["kind"])})
