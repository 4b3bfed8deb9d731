"""What travels on the routes of lineage and erasure, as pydantic models."""

from __future__ import annotations

from datetime import datetime

from inhouse.client.control import Answer, Route


class LineageSnapshot(Answer):
    """A snapshot. ``examples`` by split; ``erased`` of them are empty by now."""

    id: str
    task: str
    content_hash: str
    created_at: datetime
    examples: dict[str, int]
    erased: int


class LineageRun(Answer):
    """A training run."""

    id: str
    recipe: str
    status: str
    actor: str
    started_at: datetime | None
    finished_at: datetime | None


class LineageStand(Answer):
    """One revision of a route that names a version: as what (pinned, incumbent, candidate or
    fallback), the basis points of units that it got, from when until when (null: still), and who
    moved the route and why."""

    task: str
    revision: int
    role: str
    weight_bp: int
    since: datetime
    until: datetime | None
    actor: str
    reason: str


class LineageVersion(Answer):
    """A model version, and the revisions of its task's route that name it, newest first."""

    reference: str
    task: str
    number: int
    status: str
    created_at: datetime
    routes: list[LineageStand]


class LineageFeedback(Answer):
    """A statement about a call, without its value."""

    id: str
    kind: str
    author: str | None
    created_at: datetime


class LineageCall(Answer):
    """A call. ``erased``: its content is gone."""

    id: str
    created_at: datetime
    task: str | None
    status: str
    reference: str | None
    erased: bool


class LineageLearnedCall(Answer):
    """A call that a snapshot holds an example of, at ``position`` and in ``split``."""

    call: LineageCall
    position: int
    split: str
    feedback: list[LineageFeedback]


class VersionLineage(Answer):
    """What a version was made of. ``from_calls`` examples came from calls, ``from_imports`` from
    files. ``calls`` is a page of the former, newest first; ``next`` is the ``before`` of the page
    that follows, if any."""

    version: LineageVersion
    run: LineageRun | None
    snapshot: LineageSnapshot | None
    from_calls: int
    from_imports: int
    calls: list[LineageLearnedCall]
    next: str | None


class LineageTrained(Answer):
    """A training run, and the version that it made, if any."""

    run: LineageRun
    version: LineageVersion | None


class LineageUse(Answer):
    """A snapshot that holds an example of a call, where, and the runs on that snapshot."""

    snapshot: LineageSnapshot
    position: int
    split: str
    erased: bool
    runs: list[LineageTrained]


class InteractionLineage(Answer):
    """Where a call's answer came from, what was said about it, and what learned from it.
    ``answered_by`` is null unless an own version answered; it has no ``calls`` here."""

    call: LineageCall
    route_revision: int | None
    arm: str | None
    answered_by: VersionLineage | None
    feedback: list[LineageFeedback]
    uses: list[LineageUse]


class RecordedCall(Answer):
    """A recorded call of a unit. ``rescued``: a fallback answered for the arm's own model."""

    id: str
    created_at: datetime
    status: str
    reference: str | None
    arm: str | None
    route_revision: int | None
    weight_bp: int | None
    rescued: bool


class Who(Answer):
    """Who answers a task for a unit at a moment, and who did.

    ``route`` was in force then. ``unit`` is the unit's pseudonym; the candidate has the units whose
    ``u``, in [0, 1), is below ``weight``. ``forced`` is what the settings force the task to now.
    ``recorded`` are the unit's calls nearest to the moment, among the ``looked_through`` calls of
    the task before and after it.
    """

    task: str
    at: datetime
    unit: str
    route: Route
    u: float
    weight: float
    arm: str
    reference: str
    chain: list[str]
    forced: str | None
    recorded: list[RecordedCall]
    looked_through: int


class Held(Answer):
    """What there is of a subject: its pseudonym, calls with content, imported examples."""

    pseudonym: str
    interactions: int
    imported: int


class Erasure(Answer):
    """What was erased. ``counts`` is {interactions, feedback, imported, examples}; ``versions``
    were trained from some of it. Both are complete once ``finished_at`` is set. ``task``: of a
    purge by age, null for all tasks."""

    id: str
    subject: str | None
    before: datetime | None
    task: str | None
    counts: dict[str, int]
    snapshots: list[str]
    versions: list[str]
    actor: str
    created_at: datetime
    finished_at: datetime | None
