"""State machines as tables: which state may follow which, and nothing else may."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from inhouse.core.errors import Conflict

S = TypeVar("S", bound=StrEnum)


class Transitions(Generic[S]):
    """The allowed steps of one machine.

    ``check`` raises Conflict for a step that the table does not hold; ``before`` lists the states
    from which a state can be reached, for compare-and-swap updates.
    """

    def __init__(self, name: str, table: Mapping[S, frozenset[S]]) -> None:
        self.name = name
        self.table = table

    def check(self, current: S, target: S) -> None:
        if target not in self.table[current]:
            raise Conflict(
                f"{self.name} is {current}; it cannot become {target}",
                hint=f"from {current} it can become: "
                + (", ".join(sorted(self.table[current])) or "nothing"),
            )

    def before(self, target: S) -> list[S]:
        return [state for state, nexts in self.table.items() if target in nexts]

    def is_final(self, state: S) -> bool:
        return not self.table[state]


class RunStatus(StrEnum):
    """Status of a training run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


RUNS = Transitions(
    "training run",
    {
        RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.CANCELLED, RunStatus.FAILED}),
        RunStatus.RUNNING: frozenset(
            {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.QUEUED}
        ),
        RunStatus.SUCCEEDED: frozenset(),
        RunStatus.FAILED: frozenset(),
        RunStatus.CANCELLED: frozenset(),
    },
)


class VersionStatus(StrEnum):
    """Status in the life of a model version. Who gets traffic is the route's affair, not this."""

    CANDIDATE = "candidate"
    ACTIVE = "active"
    DEPRECATED = "deprecated"
    ARCHIVED = "archived"
    REJECTED = "rejected"


VERSIONS = Transitions(
    "model version",
    {
        VersionStatus.CANDIDATE: frozenset(
            {VersionStatus.ACTIVE, VersionStatus.REJECTED, VersionStatus.ARCHIVED}
        ),
        VersionStatus.ACTIVE: frozenset({VersionStatus.DEPRECATED, VersionStatus.REJECTED}),
        VersionStatus.DEPRECATED: frozenset({VersionStatus.ACTIVE, VersionStatus.ARCHIVED}),
        VersionStatus.REJECTED: frozenset({VersionStatus.CANDIDATE, VersionStatus.ARCHIVED}),
        VersionStatus.ARCHIVED: frozenset(),
    },
)


class JobStatus(StrEnum):
    """Status of a job: background work with a lease."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


JOBS = Transitions(
    "job",
    {
        JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED}),
        JobStatus.RUNNING: frozenset(
            {JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUEUED}
        ),
        JobStatus.DONE: frozenset(),
        JobStatus.FAILED: frozenset({JobStatus.QUEUED}),
        JobStatus.CANCELLED: frozenset({JobStatus.QUEUED}),
    },
)
