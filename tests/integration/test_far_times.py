"""Times at the ends of all years: a clear refusal by command and over HTTP, never a failure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.cli.main import app as cli
from inhouse.core.errors import Invalid
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.interactions.counts import sums
from inhouse.interactions.filters import Span
from inhouse.interactions.hours import day_ceiling, hour_ceiling, shifted
from inhouse.interactions.record import InteractionRecord, insert
from inhouse.settings import Settings
from inhouse.settings.tasks import TrainingSettings

LAST = "9999-12-31T23:59:59Z"
BEFORE_ALL = "0001-01-01T00:00:00+05:00"
AFTER_ALL = "9999-12-31T23:00:00-05:00"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    app = bootstrap(Settings(folder=tmp_path_factory.mktemp("project")))
    with app.database.write() as unit:
        insert(unit, [call(app.clock.now())])
    return app


@pytest.fixture(scope="module")
def server(app: App) -> Iterator[ServerHandle]:
    with serve_in_thread(app) as handle:
        yield handle


def call(at: datetime) -> InteractionRecord:
    return InteractionRecord(
        id=new_id(),
        created_at=at,
        status="answered",
        input="x",
        latency_ms=1.0,
        task="mood",
        reference="mood@1",
        hosting="own",
        arm="incumbent",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("independence", "--until", LAST),
        ("independence", "--until", "0001-01-01"),
        ("independence", "--since", BEFORE_ALL),
        ("interactions", "search", "--until", LAST),
        ("interactions", "search", "--since", AFTER_ALL),
        ("interactions", "purge", "--before", BEFORE_ALL),
    ],
)
def test_commands_refuse_them(app: App, arguments: tuple[str, ...]) -> None:
    folder = str(app.settings.folder)
    refused = CliRunner().invoke(cli, ["--dir", folder, *arguments]).exception
    assert isinstance(refused, Invalid)
    assert (refused.code, refused.exit_code) == ("time", 2)


def test_a_grace_longer_than_all_years_is_bad_usage(app: App) -> None:
    folder = str(app.settings.folder)
    made = CliRunner().invoke(cli, ["--dir", folder, "store", "prune", "--grace", "99999999"])
    assert made.exit_code == 2


def test_a_pause_longer_than_ten_years_is_no_setting() -> None:
    with pytest.raises(ValidationError):
        TrainingSettings(min_interval_s=1e300)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/interactions", {"until": LAST}),
        ("/interactions", {"until": BEFORE_ALL, "q": "x"}),
    ],
)
def test_the_server_refuses_them(server: ServerHandle, path: str, query: dict[str, str]) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{server.url}{path}?{urlencode(query)}", timeout=30)
    assert refused.value.code == 422
    assert b"years 1 to 9999" in refused.value.read()


def test_the_command_counts_over_all_years(app: App) -> None:
    window = ("--since", "0001-01-02", "--until", "9999-12-30")
    folder = str(app.settings.folder)
    made = CliRunner().invoke(cli, ["--dir", folder, "independence", *window])
    assert made.exit_code == 0, made.output
    assert "mood" in made.stdout


def test_days_are_counted_alike_in_a_long_window_and_a_short_one(database: Database) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    with database.write() as unit:
        insert(unit, [call(begin + timedelta(days=number, hours=7)) for number in range(4)])
    end = begin + timedelta(days=3)
    with database.read() as unit:
        short = sums(unit, Span(since=begin, until=end), by=("task", "status"))
        long = sums(unit, Span(since=begin.replace(year=1), until=end), by=("task", "status"))
    assert [row.calls for row in short] == [3]
    assert long == short


def test_the_next_hour_and_day_of_the_last_one() -> None:
    last = datetime(9999, 12, 31, 23, tzinfo=UTC)
    assert hour_ceiling(last) == last
    for step in (hour_ceiling, day_ceiling):
        with pytest.raises(Invalid, match="too near the end"):
            step(last + timedelta(minutes=1))
    with pytest.raises(Invalid):
        shifted(last.replace(year=1), -timedelta(days=366))
