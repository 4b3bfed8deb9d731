"""The parts of a lineage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from inhouse.feedback.submit import FeedbackKind
from inhouse.registry.history import Stand


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotNode:
    """A snapshot. ``examples`` by split; ``erased`` of them are empty by now."""

    id: str
    task: str
    content_hash: str
    created_at: datetime
    examples: Mapping[str, int]
    erased: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNode:
    """A training run."""

    id: str
    recipe: str
    status: str
    actor: str
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionNode:
    """A model version, and the revisions of its task's route that name it, newest first."""

    reference: str
    task: str
    number: int
    status: str
    created_at: datetime
    routes: Sequence[Stand]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackNode:
    """A statement about a call."""

    id: str
    kind: FeedbackKind
    author: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CallNode:
    """A call. ``erased``: its content is gone."""

    id: str
    created_at: datetime
    task: str | None
    status: str
    reference: str | None
    erased: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedCall:
    """A call that a snapshot holds an example of, at ``position`` and in ``split``."""

    call: CallNode
    position: int
    split: str
    feedback: Sequence[FeedbackNode]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionLineage:
    """What a version was made of. ``run`` and ``snapshot`` are None where they are not known.

    ``from_calls`` examples came from calls, ``from_imports`` from files. ``calls`` is one page of
    the former, newest first, ``next`` the ``before`` of the page that follows, if any.
    """

    version: VersionNode
    run: RunNode | None
    snapshot: SnapshotNode | None
    from_calls: int
    from_imports: int
    calls: Sequence[LearnedCall]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A training run, and the version that it made, if any."""

    run: RunNode
    version: VersionNode | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A snapshot that holds an example of a call, where, and who learned from it: runs do from the
    splits train and valid, evaluations score on test."""

    snapshot: SnapshotNode
    position: int
    split: str
    erased: bool
    runs: Sequence[Trained]


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionLineage:
    """Where a call's answer came from, what was said about it, and what learned from it, newest
    first. ``answered_by`` is None unless an own version answered."""

    call: CallNode
    route_revision: int | None
    arm: str | None
    answered_by: VersionLineage | None
    feedback: Sequence[FeedbackNode]
    uses: Sequence[Use]
