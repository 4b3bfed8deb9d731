"""Alerts: begun, told once, told again, over; by many processes, and without a database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import event

from inhouse.core.errors import BackendError
from inhouse.db.unit import Database
from inhouse.gateway.breakers import Breakers
from inhouse.interactions.record import Recorder
from inhouse.jobs import queue
from inhouse.monitoring import alert_records as records
from inhouse.monitoring.alert_records import NOT_YET, AlertRecord
from inhouse.monitoring.alerting import RETRY_S
from inhouse.monitoring.alerts import Alerter
from inhouse.monitoring.attention import Server
from inhouse.notify.base import NotDelivered, Notice
from inhouse.rollout import experiments
from inhouse.rollout.conduct import Conductor
from inhouse.rollout.declared import question_of
from inhouse.settings import NotifySettings, RolloutSettings
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock
from inhouse.testing.traffic import Traffic

COOLDOWN_S = 3600.0
PATIENCE_S = 30.0


class Heard:
    """A channel that keeps what it hears, and fails while ``error`` is set."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.tries = 0
        self.error = ""
        self._lock = threading.Lock()

    def send(self, notice: Notice) -> None:
        with self._lock:
            self.tries += 1
            if self.error:
                raise NotDelivered(self.error)
            self.notices.append(notice)

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(notice.status, notice.code) for notice in self.notices]


class Process:
    """An alerter, and what its process knows."""

    def __init__(
        self,
        database: Database,
        clock: FrozenClock,
        server: Server,
        channels: Mapping[str, Heard],
        *,
        name: str = "p1",
        settings: NotifySettings | None = None,
    ) -> None:
        self.server = server
        self.alerter = Alerter(
            database,
            clock,
            name=name,
            look=lambda: self.server,
            settings=settings or NotifySettings(cooldown_s=COOLDOWN_S),
            channels=channels,
        )

    def tick(self) -> None:
        self.alerter.tick()
        self.alerter.join(PATIENCE_S)

    def breaks(self, error: str = "line 3: unknown key") -> None:
        self.server = replace(self.server, settings_error=error)

    def heals(self) -> None:
        self.server = replace(self.server, settings_error="")


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def server(sqlite_database: Database, clock: FrozenClock, tmp_path: Path) -> Server:
    return Server(
        breakers=Breakers(clock=clock, jitter=lambda: 0.0, failures=1, open_s=60.0),
        store=ModelStore(tmp_path / "store", clock),
        recorder=Recorder(sqlite_database, clock=clock),
        settings_error="",
    )


Start = Callable[..., Process]


@pytest.fixture
def start(sqlite_database: Database, clock: FrozenClock, server: Server, heard: Heard) -> Start:
    def make(name: str = "p1", **more: Heard | NotifySettings) -> Process:
        settings = more.pop("settings", None)
        assert settings is None or isinstance(settings, NotifySettings)
        channels = {"desk": heard, **more}
        return Process(sqlite_database, clock, server, channels, name=name, settings=settings)  # type: ignore[arg-type]

    return make


def alerts(database: Database) -> list[AlertRecord]:
    with database.read() as unit:
        return records.list_alerts(unit)


def test_an_alert_is_told_once_then_after_the_cooldown_and_when_it_is_over(
    start: Start, sqlite_database: Database, clock: FrozenClock, heard: Heard
) -> None:
    process = start()
    process.tick()
    assert heard.told == []
    process.breaks()
    for _ in range(5):
        process.tick()
        clock.advance(5)
    assert heard.told == [("raised", "settings-invalid")]
    (row,) = alerts(sqlite_database)
    assert (row.raised, row.is_open, row.channels) == (1, True, {"desk": None})
    for _ in range(5):
        clock.advance(COOLDOWN_S / 5)
        process.tick()
    assert [status for status, _ in heard.told] == ["raised", "lasting"]
    process.heals()
    process.tick()
    clock.advance(29)
    process.tick()
    assert len(heard.told) == 2
    clock.advance(2)
    process.tick()
    clock.advance(2)
    process.tick()
    assert [status for status, _ in heard.told] == ["raised", "lasting", "resolved"]
    assert [notice.source for notice in heard.notices] == ["p1"] * 3
    (row,) = alerts(sqlite_database)
    assert row.ended_at is not None


def test_one_that_comes_and_goes_is_not_told_again_and_again(
    start: Start, sqlite_database: Database, clock: FrozenClock, heard: Heard
) -> None:
    process = start()
    for _ in range(4):
        process.breaks()
        process.tick()
        clock.advance(10)
        process.heals()
        clock.advance(31)
        process.tick()
    assert [status for status, _ in heard.told] == ["raised", "resolved"]
    assert alerts(sqlite_database)[0].raised == 4
    clock.advance(COOLDOWN_S)
    process.breaks()
    process.tick()
    assert heard.told[-1][0] == "raised"
    assert heard.notices[-1].raised == 5


def test_one_that_stays_after_it_came_and_went_is_told_after_the_cooldown(
    start: Start, clock: FrozenClock, heard: Heard
) -> None:
    process = start()
    process.breaks()
    process.tick()
    process.heals()
    clock.advance(31)
    process.tick()
    process.breaks()
    clock.advance(60)
    process.tick()
    assert [status for status, _ in heard.told] == ["raised", "resolved"]
    clock.advance(COOLDOWN_S)
    process.tick()
    assert [status for status, _ in heard.told] == ["raised", "resolved", "raised"]


def test_what_waits_for_a_person_is_told_once(
    start: Start, sqlite_database: Database, clock: FrozenClock, heard: Heard
) -> None:
    fail_a_job(sqlite_database, clock)
    process = start()
    for _ in range(3):
        process.tick()
        clock.advance(COOLDOWN_S)
    assert heard.told == [("raised", "job-failed")]
    clock.advance(86_400)
    process.tick()
    assert heard.told[-1][0] == "resolved"


@pytest.mark.parametrize(
    ("b", "levels", "told"),
    [
        ("embedded/worse", ("bad", "warn"), [("raised", "experiment-ended")]),
        ("embedded/same", ("bad", "warn"), []),
        ("embedded/same", ("bad", "warn", "info"), [("raised", "experiment-ended")]),
    ],
)
def test_an_experiment_that_ended_is_told_once(
    start: Start,
    sqlite_database: Database,
    clock: FrozenClock,
    heard: Heard,
    b: str,
    levels: tuple[Literal["bad", "warn", "info"], ...],
    told: list[tuple[str, str]],
) -> None:
    """One that a guardrail stopped is a warning; one that ran to its end is only worth knowing."""
    bad = (0.0, 0.9 if b == "embedded/worse" else 0.0)
    begun = end_an_experiment(sqlite_database, clock, b, bad)
    processes = [start(name, settings=NotifySettings(levels=levels)) for name in ("p1", "p2")]
    for _ in range(3):
        for process in processes:
            process.tick()
        clock.advance(COOLDOWN_S)
    assert [one for one in heard.told if one[1] == "experiment-ended"] == told
    (row,) = [one for one in alerts(sqlite_database) if one.code == "experiment-ended"]
    assert (row.about, row.raised) == (begun, 1)


def end_an_experiment(
    database: Database, clock: FrozenClock, b: str, bad: tuple[float, float]
) -> str:
    spec = TaskSpec(
        name="tone",
        kind=TaskKind.CHOICE,
        description="",
        labels=("good", "bad"),
        prompt="{{ input }}",
        chain=("embedded/general",),
    )
    asked = question_of(
        *("tone", RolloutSettings()),
        **{"metric": "success", "weight": 50.0, "a": "embedded/general", "b": b},
        **{"horizon": 100, "looks": 1, "alpha": 0.05},
    )
    said = {"actor": "ada", "reason": "try it"}
    with database.write() as unit:
        begun = experiments.start(unit, spec, asked, at=clock.now(), **said)
    Traffic(database, spec, clock).send(100, bad=bad)
    assert Conductor(database, clock, Catalog([spec])).step(begun.id) is not None
    return begun.id


def fail_a_job(database: Database, clock: FrozenClock) -> str:
    with database.write() as unit:
        job = queue.enqueue(unit, "store.scrub", {}, at=clock.now())
        claimed = queue.claim(unit, ["store.scrub"], "w", at=clock.now())
        assert claimed is not None
        queue.fail(unit, claimed, "no such disk", at=clock.now())
    return str(job.id)


def test_levels_that_nobody_wants_are_listed_only(
    start: Start, sqlite_database: Database, clock: FrozenClock, heard: Heard
) -> None:
    fail_a_job(sqlite_database, clock)
    process = start(settings=NotifySettings(levels=("bad",)))
    process.tick()
    assert heard.told == []
    (row,) = alerts(sqlite_database)
    assert (row.code, row.level, row.told_at) == ("job-failed", "warn", None)


def test_who_heard_that_it_began_hears_that_it_is_over_whatever_its_level_is_by_then(
    start: Start, sqlite_database: Database, clock: FrozenClock, server: Server, heard: Heard
) -> None:
    """A breaker that waits for its probe is of level ``warn``."""
    late = Heard()
    process = start(settings=NotifySettings(levels=("bad",)), late=late)
    settings, channels = NotifySettings(levels=("bad",)), {"desk": heard}
    process.alerter.configure(settings, channels)
    guard, at = server.breakers.of("local/m"), clock.monotonic()
    guard.end(guard.start(at), at, 0.1, BackendError("no route to host", code="connect"))
    process.tick()
    process.alerter.configure(settings, {**channels, "late": late})
    clock.advance(61)
    process.tick()
    assert alerts(sqlite_database)[0].level == "warn"
    server.breakers.reset("local/m")
    clock.advance(31)
    process.tick()
    assert heard.told == [("raised", "breaker-open"), ("resolved", "breaker-open")]
    assert late.told == []


def test_a_channel_that_fails_keeps_nobody_else_from_hearing_and_is_tried_again(
    start: Start, sqlite_database: Database, clock: FrozenClock, heard: Heard
) -> None:
    broken = Heard()
    broken.error = "it answered 500"
    process = start(pager=broken)
    process.breaks()
    process.tick()
    assert (heard.told, broken.told) == ([("raised", "settings-invalid")], [])
    assert alerts(sqlite_database)[0].channels == {"desk": None, "pager": "it answered 500"}
    process.tick()
    clock.advance(RETRY_S - 1)
    process.tick()
    broken.error = ""
    process.tick()
    assert broken.told == []
    clock.advance(2)
    process.tick()
    assert broken.told == [("raised", "settings-invalid")]
    assert len(heard.told) == 1
    assert broken.notices[0].id == heard.notices[0].id
    assert alerts(sqlite_database)[0].channels == {"desk": None, "pager": None}


def test_a_channel_that_stays_away_is_tried_less_and_less_often(
    start: Start, clock: FrozenClock, heard: Heard
) -> None:
    process = start()
    process.breaks()
    heard.error = "connection refused"
    minutes = []
    for minute in range(2 * 60):
        before = heard.tries
        process.tick()
        minutes += [minute] * (heard.tries - before)
        clock.advance(60)
    assert minutes == [0, 3, 7, 15, 31, 60, 63, 67, 75, 91]
    process.heals()
    for _ in range(2):
        process.tick()
        clock.advance(60)
    heard.error = ""
    clock.advance(RETRY_S)
    process.tick()
    assert heard.told == [("resolved", "settings-invalid")]


def test_a_channel_that_missed_the_end_hears_of_it_later(
    start: Start, clock: FrozenClock, heard: Heard
) -> None:
    process = start()
    process.breaks()
    process.tick()
    process.heals()
    heard.error = "away"
    clock.advance(31)
    process.tick()
    heard.error = ""
    process.tick()
    clock.advance(RETRY_S)
    process.tick()
    assert [status for status, _ in heard.told] == ["raised", "resolved"]


def test_what_a_process_claimed_and_died_over_is_told_by_another(
    start: Start, sqlite_database: Database, clock: FrozenClock, heard: Heard
) -> None:
    process = start()
    process.breaks()
    died = start("dead")
    died.server = process.server
    died.alerter._tell = lambda *_: None  # type: ignore[method-assign]
    died.tick()
    assert alerts(sqlite_database)[0].channels == {"desk": NOT_YET}
    process.tick()
    assert heard.told == []
    clock.advance(RETRY_S)
    process.tick()
    assert heard.told == [("raised", "settings-invalid")]


def test_nobody_ends_what_another_process_sees(
    start: Start, sqlite_database: Database, clock: FrozenClock, heard: Heard
) -> None:
    sees, sound = start("p1"), start("p2")
    sees.breaks()
    for _ in range(8):
        sees.tick()
        sound.tick()
        clock.advance(9)
    assert heard.told == [("raised", "settings-invalid")]
    assert alerts(sqlite_database)[0].is_open
    clock.advance(31)
    sound.tick()
    assert [(notice.status, notice.source) for notice in heard.notices] == [
        ("raised", "p1"),
        ("resolved", "p2"),
    ]


def test_a_clock_that_jumps_loses_no_alert(start: Start, clock: FrozenClock, heard: Heard) -> None:
    process = start()
    process.breaks()
    clock.advance(10**8)
    process.tick()
    clock.advance(-(10**8))
    process.tick()
    assert [status for status, _ in heard.told] == ["raised", "lasting"]
    process.heals()
    clock.advance(31)
    process.tick()
    assert heard.told[-1][0] == "resolved"


ALERTERS = 8


@pytest.fixture
def crowd(
    database: Database, clock: FrozenClock, server: Server, heard: Heard
) -> Iterator[list[Process]]:
    made = [
        Process(Database(_url(database)), clock, server, {"desk": heard}, name=f"p{number}")
        for number in range(ALERTERS)
    ]
    yield made
    for process in made:
        process.alerter._database.close()


def _url(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False)


def all_at_once(crowd: list[Process]) -> None:
    """Everybody has read before anybody writes: that is what could go wrong."""
    barrier = threading.Barrier(len(crowd), timeout=PATIENCE_S)
    failures: list[BaseException] = []

    def work(process: Process) -> None:
        keep = process.alerter._keep

        def wait_and_keep(*arguments: object) -> object:
            barrier.wait()
            return keep(*arguments)  # type: ignore[arg-type]

        process.alerter._keep = wait_and_keep  # type: ignore[method-assign,assignment]
        try:
            process.tick()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)
        finally:
            process.alerter._keep = keep  # type: ignore[method-assign]

    threads = [threading.Thread(target=work, args=(process,)) for process in crowd]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_of_eight_alerters_one_tells(
    database: Database, clock: FrozenClock, crowd: list[Process], heard: Heard
) -> None:
    for process in crowd:
        process.breaks()
    fail_a_job(database, clock)
    all_at_once(crowd)
    assert sorted(heard.told) == [("raised", "job-failed"), ("raised", "settings-invalid")]
    clock.advance(COOLDOWN_S)
    all_at_once(crowd)
    assert heard.told[2:] == [("lasting", "settings-invalid")]
    for process in crowd:
        process.heals()
    clock.advance(31)
    all_at_once(crowd)
    assert heard.told[3:] == [("resolved", "settings-invalid")]
    assert {row.code: row.raised for row in alerts(database)} == {
        "job-failed": 1,
        "settings-invalid": 1,
    }


@pytest.fixture
def cut(sqlite_database: Database, tmp_path: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    """What takes the database away, and what brings it back."""
    path, aside = tmp_path / "inhouse.db", tmp_path / "aside.db"

    def take() -> None:
        sqlite_database.close()
        path.rename(aside)
        path.mkdir()

    def bring() -> None:
        path.rmdir()
        aside.rename(path)

    return take, bring


Cut = tuple[Callable[[], None], Callable[[], None]]


def test_without_a_database_people_hear_of_it_all_the_same(
    start: Start, sqlite_database: Database, clock: FrozenClock, heard: Heard, cut: Cut
) -> None:
    process = start()
    process.tick()
    cut[0]()
    process.tick()
    assert heard.told == [], "a moment's silence is none of anybody's business"
    clock.advance(5)
    for _ in range(4):
        process.tick()
        clock.advance(5)
    assert [(one.status, one.code, one.about) for one in heard.notices] == [
        ("raised", "database-cut-off", "p1")
    ]
    process.breaks()
    process.tick()
    assert heard.told[1:] == [("raised", "settings-invalid")]
    clock.advance(COOLDOWN_S)
    process.tick()
    assert sorted(heard.told[2:]) == [
        ("lasting", "database-cut-off"),
        ("lasting", "settings-invalid"),
    ]
    cut[1]()
    process.tick()
    assert heard.told[4:] == [("resolved", "database-cut-off")]
    clock.advance(5)
    process.tick()
    assert len(heard.told) == 5, "what still lasts was told"
    rows = {row.code: row for row in alerts(sqlite_database)}
    assert rows["database-cut-off"].ended_at is not None
    assert rows["database-cut-off"].channels == {"desk": None}
    assert rows["settings-invalid"].is_open
    process.heals()
    clock.advance(31)
    process.tick()
    assert heard.told[5:] == [("resolved", "settings-invalid")]


def test_what_the_table_had_told_is_not_told_again_without_it(
    start: Start, clock: FrozenClock, heard: Heard, cut: Cut
) -> None:
    process = start()
    process.breaks()
    process.tick()
    process.tick()
    cut[0]()
    process.tick()
    clock.advance(5)
    process.tick()
    assert heard.told == [("raised", "settings-invalid"), ("raised", "database-cut-off")]
    process.heals()
    clock.advance(31)
    process.tick()
    cut[1]()
    process.tick()
    clock.advance(31)
    process.tick()
    assert heard.told[2:] == [("resolved", "settings-invalid"), ("resolved", "database-cut-off")]


def test_a_database_that_takes_nothing_is_told_of_too(
    start: Start, sqlite_database: Database, clock: FrozenClock, heard: Heard
) -> None:
    @event.listens_for(sqlite_database.engine, "before_cursor_execute")
    def full(_c: object, _u: object, statement: str, *_: object) -> None:
        if statement.startswith("BEGIN IMMEDIATE"):
            raise OSError("database or disk is full")

    process = start()
    fail = process.breaks
    fail()
    process.tick()
    clock.advance(5)
    process.tick()
    assert sorted(heard.told) == [("raised", "recording-fails"), ("raised", "settings-invalid")]
    event.remove(sqlite_database.engine, "before_cursor_execute", full)
    clock.advance(5)
    process.tick()
    assert heard.told[2:] == [("resolved", "recording-fails")]
    assert {row.code: row.is_open for row in alerts(sqlite_database)} == {
        "recording-fails": False,
        "settings-invalid": True,
    }
