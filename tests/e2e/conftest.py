"""Commands of ``inhouse``, each in a process of its own that need not import everything again."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest

LONGEST_S = 1800.0
TEMPLATE = """
import json, os, sys
import alembic.command, sqlalchemy.dialects.sqlite, sqlite3
import inhouse.api.control, inhouse.api.serve, inhouse.bootstrap, inhouse.client.sync
import inhouse.evaluation.report, inhouse.cli.demo.stage, inhouse.cli.logs
from inhouse.cli import main

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
else:
    sys.exit(0)

os.chdir(order["folder"])
os.environ.clear()
os.environ.update(order["environment"])
for number, path in enumerate([os.devnull, order["out"], order["err"]]):
    opened = os.open(path, os.O_CREAT | os.O_TRUNC | (os.O_WRONLY if number else os.O_RDONLY))
    os.dup2(opened, number)
    os.close(opened)
sys.argv = ["inhouse", *order["arguments"]]
main.run()
"""

Inhouse = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="session")
def template() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported what commands import, and is forked for each of them."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", TEMPLATE], stdin=pipe, stdout=pipe, text=True
    ) as made:
        yield made
        made.communicate()
    assert made.returncode == 0


@pytest.fixture
def inhouse(template: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory) -> Inhouse:
    """Runs one command to its end: ``inhouse(arguments, folder, environment)``."""
    said = tmp_path_factory.mktemp("said")

    def run(
        arguments: list[str], folder: Path, environment: Mapping[str, str] = os.environ
    ) -> CompletedProcess[str]:
        out, err = said / "out.txt", said / "err.txt"
        order = {"folder": folder, "arguments": arguments, "environment": dict(environment)}
        order |= {"out": out, "err": err}
        assert template.stdin is not None
        assert template.stdout is not None
        template.stdin.write(json.dumps(order, default=str) + "\n")
        template.stdin.flush()
        assert select.select([template.stdout], [], [], LONGEST_S)[0], (arguments, "never ends")
        code = int(template.stdout.readline())
        return CompletedProcess(
            arguments, code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")
        )

    return run
