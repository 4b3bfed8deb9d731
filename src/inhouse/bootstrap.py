"""Settings in, the wired product out: the only place that picks adapters.

``bootstrap`` opens the database (and brings its schema up to date), the ModelStore and the catalog
of tasks, and joins the packages by plain constructor arguments. ``api.app`` builds the ASGI app
over the result, the command line uses it directly.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
from dataclasses import dataclass, field

from inhouse.core.clock import Clock, SystemClock
from inhouse.db.dialects import insert_ignore, table_of
from inhouse.db.tables import Meta
from inhouse.db.unit import Database
from inhouse.evaluation.gate import GateSettings
from inhouse.evaluation.run import JOB as EVALUATION_JOB
from inhouse.evaluation.run import Evaluator
from inhouse.gateway.call import Gateway
from inhouse.gateway.keys import KeyRing
from inhouse.gateway.mirror import Poller
from inhouse.gateway.table import RouteTable
from inhouse.interactions.record import Recorder
from inhouse.jobs.handler import Handler
from inhouse.jobs.worker import Worker
from inhouse.migrations.upgrade import upgrade
from inhouse.serving.backends import Backends
from inhouse.settings import Settings
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog, load_catalog
from inhouse.training.execute import JOB as TRAINING_JOB
from inhouse.training.execute import Training


@dataclass(frozen=True, kw_only=True)
class App:
    """The wired product. ``start`` and ``stop`` frame its life as a server."""

    settings: Settings
    clock: Clock
    database: Database
    store: ModelStore
    catalog: Catalog
    backends: Backends
    routes: RouteTable
    keys: KeyRing
    poller: Poller
    recorder: Recorder
    gateway: Gateway
    training: Training
    evaluator: Evaluator
    embedded_workers: list[Worker] = field(default_factory=list)

    @property
    def handlers(self) -> dict[str, Handler]:
        """Job names and what runs them."""
        return {TRAINING_JOB: self.training, EVALUATION_JOB: self.evaluator}

    def make_worker(self, threads: int) -> Worker:
        """A job worker of this process, not started."""
        name = f"{socket.gethostname()}-{os.getpid()}"
        return Worker(self.database, self.handlers, clock=self.clock, name=name, threads=threads)

    def start(self) -> None:
        """Begin to record, to follow routes and keys, and to work jobs off."""
        self.routes.refresh()
        self.keys.refresh()
        self.recorder.start()
        self.poller.start()
        if self.settings.server.workers:
            self.embedded_workers.append(self.make_worker(self.settings.server.workers))
            self.embedded_workers[-1].start()

    def stop(self) -> None:
        """Give running jobs back to the queue and commit what was recorded."""
        while self.embedded_workers:
            self.embedded_workers.pop().stop()
        self.poller.stop()
        self.recorder.stop()


def bootstrap(settings: Settings, *, clock: Clock | None = None) -> App:
    """Wire the product over a project folder. Creates ``.inhouse/`` when it is missing.

    Raises Invalid for settings that do not fit, Unavailable when the database does not answer.
    """
    clock = clock or SystemClock()
    catalog = load_catalog(settings)
    settings.state.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_url)
    upgrade(database)
    store = ModelStore(settings.store_path, clock)
    backends = Backends(settings, database, store)
    routes = RouteTable(database, catalog, warm=backends.resolve)
    keys = KeyRing(database)
    recorder = Recorder(database, clock=clock)
    training = Training(
        database=database,
        store=store,
        catalog=catalog,
        clock=clock,
        runs_dir=settings.state / "runs",
    )
    return App(
        settings=settings,
        clock=clock,
        database=database,
        store=store,
        catalog=catalog,
        backends=backends,
        routes=routes,
        keys=keys,
        poller=Poller([routes.mirror, keys.mirror]),
        recorder=recorder,
        gateway=Gateway(
            catalog=catalog,
            routes=routes,
            resolve=backends.resolve,
            recorder=recorder,
            clock=clock,
            salt=_salt(database),
            forced=settings.force,
            jitter=random.random,
        ),
        training=training,
        evaluator=Evaluator(
            database=database,
            catalog=catalog,
            clock=clock,
            resolve=backends.resolve,
            gate=GateSettings(),
        ),
    )


def _salt(database: Database) -> bytes:
    """The salt of this installation's hashes: drawn once, then read."""
    table = table_of(Meta)
    with database.write() as unit:
        fresh = {"name": "salt", "value": secrets.token_hex(16)}
        unit.execute(insert_ignore(unit, Meta).values(**fresh))
        found = unit.execute(table.select().where(table.c.name == "salt")).one()
    return bytes.fromhex(found.value)
