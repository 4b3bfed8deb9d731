"""Our side: a project folder over the mock, a key, a route with a split, and the server."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.gateway.processes import Processes, free_port
from benchmarks.gateway.targets import Target, Upstream
from benchmarks.gateway.texts import Asking
from inhouse import __version__

CANDIDATE_PERCENT: Final = 10
FILE: Final = "inhouse.toml"
_FAST: Final = "fast"
CHAT: Final = "/v1/chat/completions"
_SETTINGS: Final = """
[server]
workers = 0
[recording]
durability = "{durability}"
[upstreams.mock]
base_url = "{upstream}"
[upstreams.mock.prices.a]
input_per_million = 0.5
output_per_million = 1.5
[tasks.bench]
kind = "text"
chain = ["mock/a", "mock/b"]
max_input_tokens = 100000
[tasks.dead]
kind = "text"
chain = ["mock/dead-inhouse", "mock/a"]
max_input_tokens = 100000
[tasks.hang]
kind = "text"
chain = ["mock/hang-inhouse", "mock/a"]
max_input_tokens = 100000
try_timeout_s = 1.0
"""


class Project:
    """A project folder; every command runs as its own process, as a person would run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, settings: str) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / FILE).write_text(settings, encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        program = Path(sys.executable).with_name("inhouse")
        return [str(program), "--dir", str(self.folder), *arguments]

    def run(self, *arguments: str) -> bytes:
        """Run a command and return what it printed. Raises RuntimeError."""
        done = subprocess.run(
            self.command(*arguments), capture_output=True, env=environment(), check=False
        )
        if done.returncode:
            raise RuntimeError(f"inhouse {' '.join(arguments)}: {done.stderr.decode().strip()}")
        return done.stdout

    def ask(self, *arguments: str) -> Any:
        """Run a command with ``--json`` and return what it said. Raises RuntimeError."""
        return msgspec.json.decode(self.run(*arguments, "--json"))

    def make_key(self) -> str:
        key: str = self.ask("keys", "create", "--name", "bench", "--role", "application")["key"]
        return key

    def serve(self, port: int) -> list[str]:
        return self.command("serve", "--port", str(port))


def environment() -> dict[str, str]:
    """This process's environment less what would change the settings of a project."""
    return {name: value for name, value in os.environ.items() if not name.startswith("INHOUSE_")}


@dataclass(frozen=True, slots=True)
class Prepared:
    """The benchmark's project, with its key and its route, to be copied for every server."""

    project: Project
    key: str

    def copy(self, folder: Path, durability: str = "fast") -> Project:
        """The same project in a folder of its own."""
        shutil.copytree(self.project.folder, folder)
        file = folder / FILE
        text = file.read_text("utf-8").replace(
            f'durability = "{_FAST}"', f'durability = "{durability}"'
        )
        file.write_text(text, encoding="utf-8")
        return Project(folder)


def prepare(folder: Path, upstream: Upstream) -> Prepared:
    """Make the project of the benchmark."""
    project = Project(folder)
    project.write(_SETTINGS.format(durability=_FAST, upstream=upstream.base_url))
    key = project.make_key()
    percent = str(CANDIDATE_PERCENT)
    project.run("routes", "set", "bench", "--to", "mock/b", "--weight", percent)
    return Prepared(project, key)


def start(
    processes: Processes, prepared: Prepared, folder: Path, name: str, durability: str = _FAST
) -> Target:
    """Our gateway with everything on: key, recording, split, tags, cost, metrics."""
    project, key = prepared.copy(folder, durability), prepared.key
    port = free_port()
    process = processes.start(name, project.serve(port), env=environment())
    ready = process.wait_ready(port, "/readyz")
    return Target(
        name=name,
        about=f"Inhouse {__version__}, recording {durability}, task with a "
        f"{CANDIDATE_PERCENT} % split, key, tags",
        process=process,
        asking=Asking(
            host="127.0.0.1",
            port=port,
            path=CHAT,
            model="task:bench",
            headers={"authorization": f"Bearer {key}"},
            rich=True,
        ),
        ready_s=ready,
        rss_mb=process.rss_mb(),
        streams=True,
        failing={"dead-inhouse": "task:dead", "hang-inhouse": "task:hang"},
        recorded=partial(_recorded, folder / ".inhouse" / "inhouse.db"),
    )


def _recorded(path: Path) -> tuple[int, Mapping[str, int]]:
    sql = "select reference, count(*) from interaction where status = 'answered' group by reference"
    rows: Sequence[tuple[str, int]] = _query(path, sql)
    counted = dict(rows)
    return sum(counted.values()), counted


def _query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return database.execute(sql).fetchall()
    finally:
        database.close()
