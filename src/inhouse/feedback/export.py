"""Recorded calls with what was said about them, one after the other, as they are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Row, or_, select

from inhouse.core.errors import Invalid
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.feedback.tables import Feedback
from inhouse.interactions.outcomes import SHADOW
from inhouse.interactions.tables import Interaction

FIELDS = ("task", "status", "arm", "reference", "hosting")
_TAG = "tags."
_interaction = table_of(Interaction)
_feedback = table_of(Feedback)
_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which calls: all conditions hold. ``since`` is inclusive, ``until`` exclusive. ``where``:
    values by one of ``FIELDS``, or by ``tags.NAME``. Copies that a candidate in shadow answered are
    meant only where ``arm`` is "shadow"."""

    since: datetime | None = None
    until: datetime | None = None
    where: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.where:
            if name not in FIELDS and not (name.startswith(_TAG) and name != _TAG):
                raise Invalid(
                    f"{name!r} is nothing to choose calls by",
                    code="where",
                    hint="choose by " + ", ".join(FIELDS) + " or tags.NAME",
                )


def interaction_lines(unit: ReadUnit, chosen: Selection) -> Iterator[dict[str, Any]]:
    """The calls, oldest first, each as its columns and ``feedback``, what was said about it."""
    statement = select(_interaction).where(*_conditions(chosen)).order_by(_interaction.c.id)
    rows = unit.execute(statement, execution_options={"yield_per": _BATCH})
    tags = {name.removeprefix(_TAG): v for name, v in chosen.where.items() if name not in FIELDS}
    fitting = (row for row in rows if _has_tags(row.tags, tags))
    while batch := list(islice(fitting, _BATCH)):
        said = _said(unit, batch)
        for row in batch:
            yield {**row._mapping, "feedback": said[row.id]}


def _conditions(chosen: Selection) -> list[ColumnElement[bool]]:
    found = [_interaction.c[name] == chosen.where[name] for name in FIELDS if name in chosen.where]
    if "arm" not in chosen.where:
        found.append(or_(_interaction.c.arm.is_(None), _interaction.c.arm != SHADOW))
    if chosen.since is not None:
        found.append(_interaction.c.created_at >= chosen.since)
    if chosen.until is not None:
        found.append(_interaction.c.created_at < chosen.until)
    return found


def _has_tags(found: Any, wanted: Mapping[str, str]) -> bool:
    tags = found if isinstance(found, Mapping) else {}
    return all(tags.get(name) == value for name, value in wanted.items())


def _said(unit: ReadUnit, calls: Sequence[Row[Any]]) -> dict[str, list[dict[str, Any]]]:
    statement = (
        select(_feedback)
        .where(_feedback.c.interaction_id.in_([call.id for call in calls]))
        .order_by(_feedback.c.created_at, _feedback.c.id)
    )
    said: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in unit.execute(statement):
        said[row.interaction_id].append(dict(row._mapping))
    return said
