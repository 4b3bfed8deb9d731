"""The routes in force, in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from inhouse.core.clock import Clock, SystemClock
from inhouse.db.unit import Database, ReadUnit
from inhouse.gateway import metrics
from inhouse.gateway.mirror import Mirror
from inhouse.gateway.warming import Warming
from inhouse.registry.routes import Route, all_current, implicit, with_chain
from inhouse.tasks.catalog import Catalog


class RouteTable:
    """Route by task. A new revision is in force at most 0.25 s after its commit, plus one query;
    ``mirror`` is what a ``Poller`` polls, and no look at the database waits for a model.

    ``warm`` opens what a reference stands for, so that no call has to. A revision that needs a
    model that is not open yet comes into force when it is. Until then the one before it serves, for
    ``warming.MOST_S`` at most, without a candidate that the new one drops. What cannot be opened in
    that time, or at all, is left to the calls, which then fall back. The first look of a process
    takes every revision over at once: there is none before it.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        *,
        warm: Callable[[str], object],
        clock: Clock | None = None,
    ) -> None:
        self._warming = Warming(warm, clock or SystemClock())
        self._looked = False
        self._cold: Mapping[str, list[str]] = {}
        self._declared = _declare(catalog)
        self.mirror: Mirror[Mapping[str, Route]] = Mirror(
            database, self._load, name="routes", initial=self._declared, clock=clock
        )
        metrics.ROUTES_AGE.set_function(self.age_s)

    def get(self, task: str) -> Route:
        """The route of a task of the catalog: its highest revision, or the declared chain."""
        return self.mirror.value[task]

    def refresh(self, tasks: Collection[str] | None = None) -> None:
        """Take over what was just committed, and wait for the models that the newest revisions of
        ``tasks`` need (None: of all), for ``warming.MOST_S`` at most. Raises what the database
        raises."""
        self.mirror.refresh()
        cold = self._cold
        needed = {one for task in (cold if tasks is None else tasks) for one in cold.get(task, ())}
        if needed:
            self._warming.wait(needed)
            self.mirror.refresh()

    def redeclare(self, catalog: Catalog) -> None:
        """Take over the tasks of another catalog. No call may ask for a task before."""
        self._declared = _declare(catalog)
        self.mirror.value = {**self._declared, **self.mirror.value}
        self.mirror.poll()

    def all(self) -> Mapping[str, Route]:
        """Every route by task, as ``get`` gives it."""
        return self.mirror.value

    @property
    def stale(self) -> bool:
        """Whether the database did not answer the last time it was asked: calls go by the last
        revision that was read."""
        return self.mirror.stale

    def age_s(self) -> float:
        """Seconds since the routes were read from the database."""
        return self.mirror.age_s()

    def _load(self, unit: ReadUnit) -> Mapping[str, Route]:
        stored = {route.task: self._as_declared(route) for route in all_current(unit)}
        waiting = {task: self._warming.cold(_needed(route)) for task, route in stored.items()}
        self._cold = {task: cold for task, cold in waiting.items() if cold}
        if self._looked:
            stored |= {task: self._before(stored[task]) for task in self._cold}
        self._looked = True
        return {**self._declared, **stored}

    def _as_declared(self, route: Route) -> Route:
        declared = self._declared.get(route.task)
        return route if declared is None else with_chain(route, declared.chain)

    def _before(self, route: Route) -> Route:
        """What serves while a revision waits for its model: the one before it, without a candidate
        that the new one has dropped. Where nobody would be left, the calls wait for the model."""
        before = self.mirror.value.get(route.task, route)
        if not before.revision:
            before = self._declared.get(route.task, route)
        if before.candidate not in (*_needed(route), route.incumbent):
            before = replace(before, weight_bp=0)
        return before if before.incumbent or before.weight_bp or before.pin else route


def _needed(route: Route) -> list[str]:
    """The references that answer calls of a route before its chain does."""
    asked = (route.pin, route.candidate if route.weight_bp else None)
    return [reference for reference in asked if reference]


def _declare(catalog: Catalog) -> Mapping[str, Route]:
    return {spec.name: implicit(spec.name, spec.chain) for spec in catalog.all()}
