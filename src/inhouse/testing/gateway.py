"""A gateway over backends of your own, with the rest as it is wired in production."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from inhouse.core.clock import Clock, SystemClock
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.gateway.breakers import Breakers
from inhouse.gateway.call import Gateway
from inhouse.gateway.keys import KeyRing
from inhouse.gateway.ledger import Ledger
from inhouse.gateway.limits.limiter import Limiter
from inhouse.gateway.shadow import Shadows
from inhouse.gateway.table import RouteTable
from inhouse.inference.base import Backend
from inhouse.interactions.record import Recorder
from inhouse.settings import LimitSettings, Settings
from inhouse.tasks.catalog import Catalog, load_catalog


def mood_catalog(**changes: Any) -> Catalog:
    """A catalog with the task ``mood``, a choice between moods that ``embedded/a`` answers and
    ``embedded/b`` after it; ``changes`` are settings of it."""
    declared = {
        "builtin": "sentiment",
        "kind": "choice",
        "chain": ["embedded/a", "embedded/b"],
        **changes,
    }
    return load_catalog(Settings(tasks={"mood": declared}))


def wire_gateway(
    database: Database,
    *,
    catalog: Catalog,
    resolve: Callable[[str], Backend],
    recorder: Recorder,
    routes: RouteTable | None = None,
    salt: bytes = b"salt",
    forced: Mapping[str, str] | None = None,
    jitter: Callable[[], float] = lambda: 0.0,
    failures: int = 5,
    open_s: float = 300.0,
    clock: Clock | None = None,
    shadows: Shadows | None = None,
) -> Gateway:
    """A gateway. ``recorder`` is started by the caller; ``routes`` are those of the database unless
    given; nothing is limited."""
    clock = clock or SystemClock()
    limiter = Limiter(
        database,
        clock=clock,
        process_id=new_id(),
        server=LimitSettings(),
        upstreams={},
        keys=KeyRing(database),
    )
    return Gateway(
        catalog=catalog,
        routes=routes or RouteTable(database, catalog, warm=str),
        resolve=resolve,
        ledger=Ledger(recorder=recorder, limiter=limiter, clock=clock, salt=salt),
        breakers=Breakers(clock=clock, jitter=jitter, failures=failures, open_s=open_s),
        clock=clock,
        forced={} if forced is None else forced,
        jitter=jitter,
        shadows=shadows,
    )
