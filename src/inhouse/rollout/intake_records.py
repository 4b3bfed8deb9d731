"""The intakes of rollouts, as they are stored: which outcomes and labels were counted, in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update

from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.rollout.tables import RolloutIntake

_intakes = table_of(RolloutIntake)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRecord:
    """A label as it was counted, so that it counts the same when its feedback is erased or the task
    scores differently. ``error`` lies in [0, 1]; of a shadow it is the candidate's, and
    ``paired_error`` that of the answer that the caller got."""

    feedback_id: str
    interaction_id: str
    unit: str
    candidate: bool
    weight_bp: int
    error: float
    paired_error: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeRecord:
    """A step of the evidence; ``tables.RolloutIntake`` says what the fields mean. ``counted`` are
    (process, number): its outcomes up to that number come next; and (None, n): the next n of
    ``labels`` do."""

    rollout_id: str
    number: int
    counted: tuple[tuple[str | None, int], ...]
    labels: tuple[LabelRecord, ...]
    reading: Mapping[str, Any]
    fresh: bool
    created_at: datetime

    @property
    def upto(self) -> dict[str, int]:
        """The last outcome number by process that was looked at."""
        return {process: number for process, number in self.counted if process is not None}


def list_intakes(unit: ReadUnit, rollout_id: str) -> list[IntakeRecord]:
    """The intakes of a rollout, oldest first."""
    found = select(_intakes).where(_intakes.c.rollout_id == rollout_id)
    return [_intake(row) for row in unit.execute(found.order_by(_intakes.c.number))]


def next_intakes(unit: ReadUnit, rollout_id: str, after: int, limit: int) -> list[IntakeRecord]:
    """Intakes with numbers over ``after``, oldest first, at most ``limit``; without readings."""
    columns = [one for one in _intakes.c if one is not _intakes.c.reading]
    statement = (
        select(*columns)
        .where(_intakes.c.rollout_id == rollout_id, _intakes.c.number > after)
        .order_by(_intakes.c.number)
        .limit(limit)
    )
    return [_intake(row) for row in unit.execute(statement)]


def last_intake(unit: ReadUnit, rollout_id: str) -> IntakeRecord | None:
    """The newest intake that counted something."""
    statement = (
        select(_intakes)
        .where(_intakes.c.rollout_id == rollout_id, _intakes.c.fresh.is_(False))
        .order_by(_intakes.c.number.desc())
        .limit(1)
    )
    row = unit.execute(statement).one_or_none()
    return None if row is None else _intake(row)


def add_intake(
    unit: WriteUnit,
    rollout_id: str,
    number: int,
    *,
    counted: Iterable[tuple[str | None, int]],
    labels: tuple[LabelRecord, ...] = (),
    reading: Mapping[str, Any] | None = None,
    fresh: bool = False,
    grows: bool = False,
    at: datetime,
) -> None:
    """Store an intake. ``fresh`` ones count nothing: the evidence begins anew behind ``counted``.
    ``grows``: it is there, and holds more now. After ``change``, in its unit."""
    row = {
        "upto": [list(one) for one in counted],
        "labels": [[getattr(one, name) for name in LabelRecord.__slots__] for one in labels],
        "reading": dict(reading or {}),
        "fresh": fresh,
        "created_at": at,
    }
    key = {"rollout_id": rollout_id, "number": number}
    newest = update(_intakes).filter_by(**key)
    unit.execute((newest if grows else insert(_intakes).values(**key)).values(**row))


def label_of(stored: list[Any]) -> LabelRecord:
    """A label as an intake keeps it: its fields in their order, the last ones may be missing."""
    return LabelRecord(**dict(zip(LabelRecord.__slots__, stored, strict=False)))


def _intake(row: Row[Any]) -> IntakeRecord:
    fields = dict(row._mapping)
    counted = ((process, number) for process, number in fields.pop("upto"))
    read = {"labels": tuple(map(label_of, fields["labels"])), "counted": tuple(counted)}
    return IntakeRecord(**{"reading": {}, **fields, **read})
