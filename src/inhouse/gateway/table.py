"""The routes in force, in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from inhouse.core.clock import Clock
from inhouse.db.unit import Database, ReadUnit
from inhouse.gateway import metrics
from inhouse.gateway.mirror import Mirror
from inhouse.registry.routes import Route, all_current, implicit
from inhouse.tasks.catalog import Catalog


class RouteTable:
    """Route by task. A new revision is in force at most 0.25 s after its commit, plus one query and
    the opening of a model that was not open yet; ``mirror`` is what a ``Poller`` polls.

    ``warm`` opens what a reference stands for, so that no call has to; what cannot be opened is
    left to the calls, which then fall back.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        *,
        warm: Callable[[str], object],
        clock: Clock | None = None,
    ) -> None:
        self._catalog = catalog
        self._warm = warm
        self._warmed: set[str] = set()
        self._declared = self._declare()
        self.mirror: Mirror[Mapping[str, Route]] = Mirror(
            database, self._load, name="routes", initial=self._declared, clock=clock
        )
        metrics.ROUTES_AGE.set_function(self.age_s)

    def get(self, task: str) -> Route:
        """The route of a task of the catalog: its highest revision, or the declared chain."""
        return self.mirror.value[task]

    def refresh(self) -> None:
        """Take over what was just committed. Raises what the database raises."""
        self.mirror.refresh()

    def redeclare(self) -> None:
        """Take over the tasks of a changed catalog; calls meet them at once."""
        self._declared = self._declare()
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

    def _declare(self) -> Mapping[str, Route]:
        return {spec.name: implicit(spec.name, spec.chain) for spec in self._catalog.all()}

    def _load(self, unit: ReadUnit) -> Mapping[str, Route]:
        stored = all_current(unit)
        for route in stored:
            for reference in (route.pin, route.candidate if route.weight_bp else None):
                if reference and reference not in self._warmed:
                    self._warmed.add(reference)
                    with suppress(Exception):  # whatever it dies of, routes must be followed
                        self._warm(reference)
        return {**self._declared, **{route.task: route for route in stored}}
