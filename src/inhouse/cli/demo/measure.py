"""What the story measures: windows of calls, as the product recorded them, and a step at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from inhouse.bootstrap import App
from inhouse.cli.demo.arrivals import Arrivals
from inhouse.cli.demo.ask import PARALLEL, TASK, wait_until
from inhouse.cli.demo.folder import Progress
from inhouse.cli.demo.tell import Teller
from inhouse.cli.figures import call_stats

_NAMES = ("calls", "answered", "unanswered", "own", "local", "external", "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Windows of calls of the demo's task."""

    app: App
    teller: Teller

    def now(self) -> datetime:
        return self.app.clock.now()

    def settle(self, arrivals: Arrivals | None = None) -> datetime:
        """Now, with every call that began before in the database."""
        now = self.now()
        if arrivals is not None:
            arrivals.wait_for(2 * PARALLEL)
        self.app.recorder.flush(10.0)
        return now

    def in_force(self, revision: int | None) -> None:
        """Wait until the server has seen a revision of the route by itself, as from another
        process."""
        if revision is not None:
            wait_until(lambda: self.app.routes.get(TASK).revision >= revision, 30.0, "the route")

    def stats(self, since: datetime, until: datetime) -> dict[str, Any]:
        with self.app.database.read() as unit:
            return call_stats(unit, TASK, since=since, until=until)

    def tell_calls(
        self, step: str, text: str, since: datetime, until: datetime, stats: dict[str, Any]
    ) -> None:
        """A line about a window, whose figures are those of ``stats``."""
        window = ("--since", since.isoformat(), "--until", until.isoformat())
        figures = {name: stats[name] for name in _NAMES}
        figures |= {
            f"references.{n}.p50_ms": r["p50_ms"] for n, r in enumerate(stats["references"])
        }
        self.teller.tell(step, text, ("interactions", "stats", TASK, *window, "--json"), figures)


def do_once(
    progress: Progress, teller: Teller, name: str, heading: str, work: Callable[[], Any]
) -> Any:
    """Do a step of a story, or tell again what it told when it is done already. Returns what it
    left."""
    teller.heading(heading)
    if (left := progress.done(name)) is not None:
        for line in teller.lines:
            if line.step == name:
                teller.show(line)
        return left
    teller.forget(name)
    left = work()
    progress.finish(name, left)
    return left
