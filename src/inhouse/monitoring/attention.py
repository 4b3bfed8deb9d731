"""What somebody should look at now, worst first: of the database, and of one process.

The overview shows it, and ``monitoring.alerts`` tells of it. There is no other place that decides
what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from inhouse.db.unit import ReadUnit
from inhouse.gateway.breaker import BreakerState
from inhouse.gateway.breakers import Breakers, BreakerView
from inhouse.interactions.record import Recorder
from inhouse.monitoring import attention_stored as stored
from inhouse.monitoring.attention_drift import drifts
from inhouse.monitoring.concern import Code, Concern, Counted, Level
from inhouse.registry.routes import Route
from inhouse.settings import LimitSettings
from inhouse.store.quarantine import Mark
from inhouse.store.store import ModelStore

__all__ = ["Code", "Concern", "Level", "Server", "concerns", "of_process", "of_stored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a running process knows of itself.

    ``settings_error``: what is wrong with inhouse.toml now, "" when nothing is. ``routes``: the
    routes in force by task. ``limits``: those of the server, ``upstreams``: those of upstreams by
    name. ``also``: what layers above know that needs somebody.
    """

    breakers: Breakers
    store: ModelStore
    recorder: Recorder
    settings_error: str
    routes: Mapping[str, Route] = field(default_factory=dict)
    limits: LimitSettings = field(default_factory=LimitSettings)
    upstreams: Mapping[str, LimitSettings] = field(default_factory=dict)
    also: Callable[[ReadUnit], Sequence[Concern]] = lambda unit: ()


def concerns(
    unit: ReadUnit, server: Server, counts: Sequence[Counted], *, now: datetime
) -> list[Concern]:
    """Everything that needs somebody, worst first; of one level in the order of the story.
    ``counts`` are the calls of the window."""
    found = [*of_process(server), *of_stored(unit, server, counts, now=now)]
    asked = " ".join(one.title for one in found if one.code is Code.PROPOSAL_OPEN)
    found += [one for one in stored.candidates(unit) if one.about not in asked.split()]
    return sorted(found, key=lambda one: list(Level).index(one.level))


def of_process(server: Server) -> list[Concern]:
    """What a process knows without its database."""
    states = server.breakers.states()
    return [
        *_recording(server.recorder),
        *_settings(server.settings_error),
        *_chains(server.routes, states),
        *map(_breaker, filter(lambda one: one.state is not BreakerState.CLOSED, states)),
        *map(_quarantine, server.store.quarantined()),
    ]


def of_stored(
    unit: ReadUnit, server: Server, counts: Sequence[Counted], *, now: datetime
) -> list[Concern]:
    """What the database says, which is the same in every process."""
    return [
        *stored.failing(counts),
        *stored.budgets(unit, server.limits, server.upstreams, now),
        *stored.rollouts(unit, now),
        *stored.experiments(unit, now),
        *stored.training(unit),
        *stored.jobs(unit, now),
        *stored.gates(unit),
        *drifts(unit, server.routes),
        *stored.pause(unit),
        *server.also(unit),
    ]


def cut_off(process: str, *, since: datetime, reason: str) -> Concern:
    """A process has no database since a time."""
    return Concern(
        code=Code.DATABASE_CUT_OFF,
        level=Level.BAD,
        title=f"{process} is cut off from its database",
        text="Calls are routed as they were when it was read last; changes of routes, keys and "
        f"budgets do not arrive, and nothing can be stored. {reason.rstrip('.')}.",
        about=process,
        since=since,
    )


def refused(*, since: datetime, reason: str) -> Concern:
    """The database answers, and takes nothing since a time."""
    return Concern(
        code=Code.RECORDING_FAILS,
        level=Level.BAD,
        title="The database takes nothing",
        text=f"{reason.rstrip('.')}. Calls are refused or go unrecorded while that lasts. See its "
        "log, its locks and its disk.",
        about="",
        since=since,
    )


def _recording(recorder: Recorder) -> list[Concern]:
    if not recorder.is_failing():
        return []
    effect = "answered and not recorded" if recorder.answers else "refused"
    return [
        Concern(
            code=Code.RECORDING_FAILS,
            level=Level.BAD,
            title=f"Calls are {effect}",
            text=f"The database does not take what is recorded; {recorder.depth():,} calls wait "
            "in memory. See its log, its locks and its disk.",
            about="",
        )
    ]


def _settings(error: str) -> list[Concern]:
    if not error:
        return []
    return [
        Concern(
            code=Code.SETTINGS_INVALID,
            level=Level.BAD,
            title="inhouse.toml holds an error",
            text=f"{error}. The settings before the change go on serving.",
            about="",
        )
    ]


def _chains(routes: Mapping[str, Route], states: Sequence[BreakerView]) -> list[Concern]:
    """Tasks whose every backend is left alone."""
    opened = {one.reference: one for one in states if one.state is BreakerState.OPEN}
    found = []
    for task, route in sorted(routes.items()):
        backends = _backends(route)
        if backends and backends <= opened.keys():
            found.append(
                Concern(
                    code=Code.CHAIN_DEAD,
                    level=Level.BAD,
                    title=f"Nothing answers {task}",
                    text=f"The breakers of all its backends are open: {', '.join(sorted(backends))}"
                    ". Its calls fail until one of them answers again.",
                    about=task,
                    since=max((opened[one].opened_at for one in backends), default=None, key=_time),
                )
            )
    return found


def _backends(route: Route) -> set[str]:
    if route.pin is not None:
        return {route.pin}
    candidate = route.candidate if route.weight_bp else None
    return {one for one in (route.incumbent, *route.chain, candidate) if one}


def _time(at: datetime | None) -> float:
    return at.timestamp() if at else 0.0


def _breaker(view: BreakerView) -> Concern:
    half = view.state is BreakerState.HALF_OPEN
    why = f" The last failure: {view.error}." if view.error else ""
    return Concern(
        code=Code.BREAKER_OPEN,
        level=Level.WARN if half else Level.BAD,
        title=f"{view.reference} is {'tried again' if half else 'left alone'}",
        text=f"{view.failures} failures in a row opened its breaker. Fallbacks answer.{why}",
        about=view.reference,
        since=view.opened_at,
    )


def _quarantine(mark: Mark) -> Concern:
    return Concern(
        code=Code.VERSION_DAMAGED,
        level=Level.BAD,
        title=f"{mark.name} {mark.version} is in quarantine",
        text=f"{mark.message}. Publish it again, or restore the files and verify the store.",
        about=f"{mark.name}@{mark.version}",
        since=mark.at,
    )
