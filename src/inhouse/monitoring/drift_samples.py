"""The samples that drift is looked for in: what a model was made from, and the newest calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, func, or_, select

from inhouse.core.errors import Invalid
from inhouse.datasets.tables import SnapshotExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.evaluation import records
from inhouse.interactions.activity import NOT_COUNTED
from inhouse.interactions.entry import Status
from inhouse.interactions.hours import LENGTH, moment_of
from inhouse.interactions.tables import Activity, Interaction
from inhouse.registry.versions import Version
from inhouse.tasks import outputs
from inhouse.tasks.spec import TaskSpec, Unit

NEWEST: Final = 500
"""Calls that are compared."""
EXAMPLES: Final = 1000
"""Training examples that they are compared with, at most."""
FIRST: Final = 300
"""First calls that they are compared with, where there are no examples."""
_SPARE: Final = 4
_interaction = table_of(Interaction)
_activity = table_of(Activity)
_example = table_of(SnapshotExample)
Output = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Calls in some order: the distinct texts, the answers, and when the last of them was."""

    texts: tuple[str, ...]
    answers: tuple[Output, ...]
    calls: int
    until: datetime | None


def newest(
    unit: ReadUnit,
    spec: TaskSpec,
    *,
    since: datetime,
    reference: str | None = None,
) -> Calls:
    """The newest calls of a task after a moment, or those that one model answered."""
    wanted = [_interaction.c.created_at > since, *_counted(spec), *_by(reference)]
    return _read(unit, spec, wanted, NEWEST, newest_first=True)


def first(unit: ReadUnit, spec: TaskSpec, reference: str) -> Calls:
    """The first calls of a task, as it is declared now, that a model answered."""
    hour = unit.execute(
        select(func.min(_activity.c.hour)).where(
            _activity.c.task == spec.name,
            _activity.c.reference == reference,
            func.length(_activity.c.hour) == LENGTH,
        )
    ).scalar()
    if hour is None:
        return Calls(texts=(), answers=(), calls=0, until=None)
    wanted = [_interaction.c.created_at >= moment_of(hour), *_counted(spec), *_by(reference)]
    return _read(unit, spec, wanted, FIRST, newest_first=False)


def trained_on(unit: ReadUnit, version: Version) -> list[str]:
    """Texts of the training split of a version's snapshot, in an order that means nothing; erased
    ones are left out."""
    statement = (
        select(_example.c.input)
        .where(_example.c.snapshot_id == version.snapshot_id, _example.c.split == "train")
        .order_by(_example.c.content_hash)
        .limit(EXAMPLES)
    )
    return _distinct(filter(None, (text_of(row.input) for row in unit.execute(statement))))


def evaluated(unit: ReadUnit, spec: TaskSpec, version: Version) -> list[Output]:
    """What a version answered to the frozen test split, in its newest evaluation."""
    for one in records.list_evaluations(unit, version_id=version.id):
        if one.status == "done":
            rows = records.items(unit, one.id, version.reference)
            return list(_valid(spec, ((row["output"], None) for row in rows)))
    return []


def text_of(value: Any) -> str | None:
    """The text of a recorded input: itself, or the texts of a chat's messages; None where it is
    not kept."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        said = [one.get("content") for one in value if isinstance(one, dict)]
        return "\n".join(one for one in said if isinstance(one, str)) or None
    return None


def _read(
    unit: ReadUnit,
    spec: TaskSpec,
    wanted: Sequence[ColumnElement[bool]],
    limit: int,
    *,
    newest_first: bool,
) -> Calls:
    """One call of each unit where several belong to one: they are not drawn apart."""
    at = _interaction.c.created_at
    columns = (at, *(_interaction.c[name] for name in ("input", "output", "status", "unit")))
    many = limit if spec.unit is Unit.REQUEST else limit * _SPARE
    order = at.desc() if newest_first else at
    rows = unit.execute(select(*columns).where(*wanted).order_by(order).limit(many)).all()
    if spec.unit is not Unit.REQUEST:
        by_unit: dict[str, Any] = {}
        for number, row in enumerate(rows):
            by_unit.setdefault(row.unit or str(number), row)
        kept = list(by_unit.values())[:limit]
    else:
        kept = list(rows)
    answered = ((row.output, row.input) for row in kept if row.status == Status.ANSWERED)
    return Calls(
        texts=tuple(_distinct(filter(None, (text_of(row.input) for row in kept)))),
        answers=tuple(_valid(spec, answered)),
        calls=len(kept),
        until=max((row.created_at for row in kept), default=None),
    )


def _counted(spec: TaskSpec) -> list[ColumnElement[bool]]:
    arm = _interaction.c.arm
    return [
        _interaction.c.task == spec.name,
        _interaction.c.task_revision == spec.revision,
        or_(arm.is_(None), arm.not_in(NOT_COUNTED)),
    ]


def _by(reference: str | None) -> list[ColumnElement[bool]]:
    return [] if reference is None else [_interaction.c.reference == reference]


def _valid(spec: TaskSpec, answered: Iterable[tuple[Any, Any]]) -> Iterator[Output]:
    for output, sent in answered:
        try:
            yield outputs.check(spec, output, sent if isinstance(sent, str) else None)
        except (Invalid, TypeError):
            continue


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
