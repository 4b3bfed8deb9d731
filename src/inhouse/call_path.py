"""The call path, wired: routes, keys, limits, breakers, the recorder, shadows and the gateway."""

from __future__ import annotations

import random
import secrets

from sqlalchemy.exc import StatementError

from inhouse.core.clock import Clock
from inhouse.core.ids import new_id
from inhouse.core.log import Log
from inhouse.db.dialects import insert_ignore, table_of
from inhouse.db.tables import Meta
from inhouse.db.unit import Database
from inhouse.gateway.breakers import Breakers
from inhouse.gateway.call import Gateway
from inhouse.gateway.keys import KeyRing
from inhouse.gateway.ledger import Ledger
from inhouse.gateway.limits.limiter import Limiter
from inhouse.gateway.shadow import Shadows
from inhouse.gateway.table import RouteTable
from inhouse.interactions.content import Content
from inhouse.interactions.record import Recorder
from inhouse.rollout.shadowed import targets as shadowed
from inhouse.serving.backends import Backends
from inhouse.settings import LimitSettings, Settings
from inhouse.tasks.catalog import Catalog

_log = Log("inhouse")


class CallPath:
    """What a call passes, from its route to its record, joined over an open database.

    Nothing of it runs yet: ``App.start`` starts the recorder and what follows the database.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        catalog: Catalog,
        backends: Backends,
        content: Content,
        clock: Clock,
    ) -> None:
        process_id = new_id()
        self.routes = RouteTable(database, catalog, warm=backends.resolve, clock=clock)
        self.keys = KeyRing(database)
        self.recorder = Recorder(
            database,
            clock=clock,
            durability=settings.recording.durability,
            on_record_failure=settings.recording.on_record_failure,
            content=content,
            process_id=process_id,
            on_error=_log_recording,
        )
        self.breakers = Breakers(
            clock=clock,
            jitter=random.random,
            failures=settings.breaker.failures,
            open_s=settings.breaker.open_s,
        )
        self.limiter = Limiter(
            database,
            clock=clock,
            process_id=process_id,
            server=settings.limits,
            upstreams=upstream_limits(settings),
            keys=self.keys,
        )
        self.shadows = Shadows(
            database,
            shadowed,
            warm=backends.resolve,
            recorder=self.recorder,
            clock=clock,
            jitter=random.random,
        )
        self.gateway = Gateway(
            catalog=catalog,
            routes=self.routes,
            resolve=backends.resolve,
            ledger=Ledger(
                recorder=self.recorder, limiter=self.limiter, clock=clock, salt=_salt(database)
            ),
            breakers=self.breakers,
            clock=clock,
            forced=settings.force,
            jitter=random.random,
            shadows=self.shadows,
        )


def upstream_limits(settings: Settings) -> dict[str, LimitSettings]:
    """The declared limits of every upstream, by its name."""
    return {name: upstream.limits for name, upstream in settings.upstreams.items()}


def _log_recording(error: Exception) -> None:
    """Say that something is not recorded, without any of its content."""
    if isinstance(error, StatementError):
        error.hide_parameters = True
    _log.error("recording fails", reason=f"{type(error).__name__}: {error}")


def _salt(database: Database) -> bytes:
    """The salt of this installation's hashes: drawn once, then read, which waits for nobody who
    writes."""
    table = table_of(Meta)
    query = table.select().where(table.c.name == "salt")
    with database.read() as reading:
        found = reading.execute(query).one_or_none()
    if found is None:
        with database.write() as unit:
            fresh = {"name": "salt", "value": secrets.token_hex(16)}
            unit.execute(insert_ignore(unit, Meta).values(**fresh))
            found = unit.execute(query).one()
    return bytes.fromhex(found.value)
