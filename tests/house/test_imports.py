"""What starting up may cost: `inhouse --help` is quick because it loads little."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
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


def test_the_contracts_place_every_package() -> None:
    """The contract of layers is exhaustive; the other lists must not fall behind it."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    names = {path.name for path in (ROOT / "src" / "inhouse").iterdir() if path.is_dir()}
    product = names - {"testing", "__pycache__"}
    for contract, left_out in (("testing", set[str]()), ("web", {"api", "cli", "dashboard"})):
        listed = contracts[f"importlinter:contract:{contract}"]["source_modules"].split()
        assert {f"inhouse.{name}" for name in product - left_out} <= set(listed), contract
