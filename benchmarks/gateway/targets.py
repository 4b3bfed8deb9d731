"""What is measured: a running server, how it is asked, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from benchmarks.gateway.processes import Process, Processes, http_get
from benchmarks.gateway.texts import OWN_MODELS, Asking

Table = Callable[[], tuple[int, Mapping[str, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server under measurement.

    It was ready ``ready_s`` after its start and held ``rss_mb`` then. ``streams``: it can pass
    streams. ``failing``: the models that it is asked for when its primary is dead or hangs, by the
    name of the mock's model. ``recorded`` counts what an own gateway recorded: rows that were
    answered in all, and by reference.
    """

    name: str
    about: str
    process: Process
    asking: Asking
    ready_s: float
    rss_mb: float
    streams: bool = False
    failing: Mapping[str, str] = field(default_factory=dict)
    recorded: Table | None = None

    def asked_for(self, model: str) -> Asking:
        return replace(self.asking, model=model)


@dataclass(frozen=True, slots=True)
class Upstream:
    """The mock, running."""

    process: Process
    port: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def hits(self) -> Mapping[str, int]:
        """Chat requests counted since the start, by model."""
        found: Mapping[str, int] = msgspec.json.decode(http_get(self.port, "/stats")[1])
        return found

    def answered(self) -> int:
        """Chat requests for the models that answer an own gateway."""
        hits = self.hits()
        return sum(hits.get(model, 0) for model in OWN_MODELS)


@dataclass(frozen=True, slots=True)
class Bench:
    """A run: its processes, its mock, its targets by name."""

    processes: Processes
    upstream: Upstream
    targets: Mapping[str, Target]

    def only(self, target: Target) -> None:
        """Hold every process that this target does not need."""
        self.processes.only(self.upstream.process, target.process)
