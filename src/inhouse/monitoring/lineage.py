"""Where an answer came from, and where it went.

Forwards from an answer: the version, its training run, the snapshot, the examples, the calls that
they were made of. Backwards from a call: the snapshots that hold an example of it, the runs on
them, the versions, the routes that these stood on. Every step is looked up by an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import func, select

from inhouse.core.errors import InhouseError, NotFound
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.datasets import snapshot as snapshots
from inhouse.datasets.erase import DROPPED
from inhouse.datasets.snapshot import SnapshotRecord
from inhouse.datasets.tables import Snapshot, SnapshotExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.feedback.submit import FeedbackKind, list_for
from inhouse.feedback.tables import Feedback
from inhouse.interactions.erase import ERASED, is_erased
from inhouse.interactions.search import get as get_interaction
from inhouse.interactions.tables import Interaction
from inhouse.monitoring.nodes import (
    CallNode,
    FeedbackNode,
    InteractionLineage,
    LearnedCall,
    RunNode,
    SnapshotNode,
    Trained,
    Use,
    VersionLineage,
    VersionNode,
)
from inhouse.registry import versions
from inhouse.registry.history import stands
from inhouse.registry.tables import ModelVersion
from inhouse.registry.versions import Version
from inhouse.training import runs
from inhouse.training.runs import Run
from inhouse.training.tables import TrainingRun

CALLS: Final = 20
_example = table_of(SnapshotExample)
_snapshot = table_of(Snapshot)
_interaction = table_of(Interaction)
_feedback = table_of(Feedback)
_version = table_of(ModelVersion)
_run = table_of(TrainingRun)


def of_interaction(unit: ReadUnit, name: str) -> InteractionLineage:
    """The lineage of a call, named by its id or by that of a statement about it.

    Raises NotFound (code ``interaction-not-found``).
    """
    said = select(_feedback.c.interaction_id).where(_feedback.c.id == name)
    record = get_interaction(unit, unit.execute(said).scalar_one_or_none() or name)
    return InteractionLineage(
        call=CallNode(
            id=record.id,
            created_at=record.created_at,
            task=record.task,
            status=record.status,
            reference=record.reference,
            erased=is_erased(record.input),
        ),
        route_revision=record.route_revision,
        arm=record.arm,
        answered_by=_answered_by(unit, record.reference),
        feedback=[_said(one) for one in list_for(unit, record.id)],
        uses=_uses(unit, record.id),
    )


def of_version(
    unit: ReadUnit, task: str, number: int, *, before: str | None = None, limit: int = CALLS
) -> VersionLineage:
    """The lineage of a version, with a page of at most ``limit`` calls, older than the call
    ``before`` if that is given. Raises NotFound."""
    version = versions.get(unit, task, number)
    run = None if version.run_id is None else _known_run(unit, version.run_id)
    frozen = None if version.snapshot_id is None else _known(unit, version)
    if frozen is None:
        from_calls, examples, page = 0, 0, []
    else:
        from_calls, examples = _counts(unit, frozen.id)
        page = _calls(unit, frozen.id, before, limit + 1) if limit else []
    return VersionLineage(
        version=_version_node(unit, version),
        run=run,
        snapshot=frozen,
        from_calls=from_calls,
        from_imports=examples - from_calls,
        calls=page[:limit],
        next=page[limit - 1].call.id if limit and len(page) > limit else None,
    )


def _answered_by(unit: ReadUnit, reference: str | None) -> VersionLineage | None:
    """What is known of an own version, without the calls that it learned from."""
    try:
        parsed = parse_reference(reference or "")
        if parsed.kind is ReferenceKind.VERSION:
            return of_version(unit, parsed.name, parsed.number, limit=0)
    except InhouseError:
        pass
    return None


def _uses(unit: ReadUnit, interaction_id: str) -> list[Use]:
    columns = (_example.c.position, _example.c.split, _example.c.input)
    statement = (
        select(_snapshot, *columns)
        .join(_example, _example.c.snapshot_id == _snapshot.c.id)
        .where(_example.c.interaction_id == interaction_id)
        .order_by(_snapshot.c.created_at.desc(), _snapshot.c.id.desc())
    )
    return [
        Use(
            snapshot=_snapshot_node(row),
            position=row.position,
            split=row.split,
            erased=is_erased(row.input),
            runs=_trained(unit, row.task, row.id),
        )
        for row in unit.execute(statement).all()
    ]


def _trained(unit: ReadUnit, task: str, snapshot_id: str) -> list[Trained]:
    """The runs on a snapshot, newest first."""
    statement = (
        select(_run, _version.c.number)
        .outerjoin(_version, _version.c.run_id == _run.c.id)
        .where(_run.c.task == task, _run.c.snapshot_id == snapshot_id)
        .order_by(_run.c.created_at.desc(), _run.c.id.desc())
    )
    return [
        Trained(
            run=_run_node(row),
            version=None
            if row.number is None
            else _version_node(unit, versions.get(unit, task, row.number)),
        )
        for row in unit.execute(statement).all()
    ]


def _counts(unit: ReadUnit, snapshot_id: str) -> tuple[int, int]:
    """Examples that came from calls, and all."""
    counted = select(func.count(_example.c.interaction_id), func.count())
    row = unit.execute(counted.where(_example.c.snapshot_id == snapshot_id)).one()
    return row[0], row[1]


def _calls(unit: ReadUnit, snapshot_id: str, before: str | None, limit: int) -> list[LearnedCall]:
    """Ids sort by time, so the newest calls are the highest ids."""
    columns = (_interaction.c.created_at, _interaction.c.task, _interaction.c.status)
    statement = (
        select(
            *columns,
            _interaction.c.reference,
            _example.c.interaction_id.label("id"),
            (_interaction.c.input == ERASED).label("erased"),
            _example.c.position,
            _example.c.split,
        )
        .join(_interaction, _interaction.c.id == _example.c.interaction_id)
        .where(_example.c.snapshot_id == snapshot_id, _example.c.interaction_id.is_not(None))
        .order_by(_example.c.interaction_id.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(_example.c.interaction_id < before)
    rows = unit.execute(statement).all()
    said = _said_about(unit, [row.id for row in rows])
    return [
        LearnedCall(
            call=CallNode(
                id=row.id,
                created_at=row.created_at,
                task=row.task,
                status=row.status,
                reference=row.reference,
                erased=row.erased,
            ),
            position=row.position,
            split=row.split,
            feedback=said.get(row.id, []),
        )
        for row in rows
    ]


def _said_about(unit: ReadUnit, interaction_ids: Sequence[str]) -> dict[str, list[FeedbackNode]]:
    statement = (
        select(_feedback)
        .where(_feedback.c.interaction_id.in_(interaction_ids))
        .order_by(_feedback.c.created_at, _feedback.c.id)
    )
    found: dict[str, list[FeedbackNode]] = {}
    for row in unit.execute(statement):
        found.setdefault(row.interaction_id, []).append(_said(row))
    return found


def _said(one: Any) -> FeedbackNode:
    return FeedbackNode(
        id=one.id, kind=FeedbackKind(one.kind), author=one.author, created_at=one.created_at
    )


def _version_node(unit: ReadUnit, version: Version) -> VersionNode:
    return VersionNode(
        reference=version.reference,
        task=version.task,
        number=version.number,
        status=version.status,
        created_at=version.created_at,
        routes=stands(unit, version.task, version.reference),
    )


def _known_run(unit: ReadUnit, run_id: str) -> RunNode | None:
    try:
        return _run_node(runs.get(unit, run_id))
    except NotFound:
        return None


def _known(unit: ReadUnit, version: Version) -> SnapshotNode | None:
    try:
        return _snapshot_node(snapshots.get(unit, version.snapshot_id or "", version.task))
    except NotFound:
        return None


def _run_node(run: Run | Any) -> RunNode:
    return RunNode(
        id=run.id,
        recipe=run.recipe,
        status=run.status,
        actor=run.actor,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def _snapshot_node(frozen: SnapshotRecord | Any) -> SnapshotNode:
    counts = frozen.counts
    return SnapshotNode(
        id=frozen.id,
        task=frozen.task,
        content_hash=frozen.content_hash,
        created_at=frozen.created_at,
        examples={split: counts.get(split, 0) for split in ("train", "valid", "test")},
        erased=frozen.dropped.get(DROPPED, 0),
    )
