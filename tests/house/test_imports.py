"""What a start may cost: `inhouse --help` and `inhouse serve` are quick, for they load little."""

from __future__ import annotations

import configparser
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
LEFT_TO_THEIR_USE = (
    *("alembic", "mako", "rich", "pygments", "jsonschema_rs", "sqlalchemy.dialects.postgresql"),
    *("apprise", "numpy", "onnxruntime", "pandas", "psycopg", "pyarrow", "scipy", "sklearn"),
    *("spacy", "tokenizers", "torch", "transformers"),
    *("inhouse.migrations.migrate", "inhouse.migrations.versions"),
)
"""What a gateway that serves does without, until something asks for it."""
SERVE = """
import atexit, sys
atexit.register(lambda: print("loaded:", *sys.modules))
sys.argv = ["inhouse", "--dir", sys.argv[1], "serve", "--port", "0"]
from inhouse.cli.main import run
run()
"""
BESIDE_THE_FIRST_CALLS = {"fastapi", "starlette", "inhouse.api.control", "inhouse.dashboard"}
"""What is loaded when calls are answered already."""
HEAVY = ("sqlalchemy", "alembic", "fastapi", "starlette", "uvicorn", "numpy", "torch", "sklearn")


def test_help_loads_neither_database_nor_web_framework_nor_models() -> None:
    script = (
        "import sys\n"
        "sys.argv = ['inhouse', '--help']\n"
        "from inhouse.cli.main import run\n"
        "try:\n    run()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print('loaded:', *loaded)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded:"
    assert "serve" in done.stdout


def test_serve_loads_nothing_that_it_does_without(tmp_path: Path) -> None:
    """The real server, over a database whose schema is current, with a task that needs no model."""
    (tmp_path / "inhouse.toml").write_text(
        '[upstreams.up]\nbase_url = "http://127.0.0.1:9/v1"\n[tasks.words]\nkind = "text"\n'
        'chain = ["up/a"]\n'
    )
    first, second = _modules_of_a_server(tmp_path), _modules_of_a_server(tmp_path)
    assert "alembic" in first, "a database that is made is migrated"
    assert {"sqlalchemy", "fastapi", "inhouse.gateway.call"} <= second
    assert second.isdisjoint(LEFT_TO_THEIR_USE), sorted(second & set(LEFT_TO_THEIR_USE))


def test_calls_are_answered_before_the_web_framework_is_loaded() -> None:
    script = (
        "import sys\n"
        "import inhouse.cli.serve, inhouse.api.serve\n"
        f"print('loaded:', *({BESIDE_THE_FIRST_CALLS!r} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded:"


def _modules_of_a_server(folder: Path) -> set[str]:
    """What a server has loaded once it has answered that it is ready."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(folder)], stdout=subprocess.PIPE, text=True, cwd=folder
    ) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().split()[1]
            with urlopen(f"{url}/readyz") as answer:
                assert answer.status == HTTPStatus.OK
        finally:
            server.terminate()
        return set(server.stdout.read().rpartition("loaded:")[2].split())


def test_the_contracts_place_every_package() -> None:
    """The contract of layers is exhaustive; the other lists must not fall behind it."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    names = {path.name for path in (ROOT / "src" / "inhouse").iterdir() if path.is_dir()}
    product = names - {"testing", "__pycache__"}
    for contract, left_out in (("testing", set[str]()), ("web", {"api", "cli", "dashboard"})):
        listed = contracts[f"importlinter:contract:{contract}"]["source_modules"].split()
        assert {f"inhouse.{name}" for name in product - left_out} <= set(listed), contract
