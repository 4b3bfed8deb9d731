"""The commands that the documentation shows do what it says, on a project as a reader has it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inhouse.cli.main import app
from inhouse.testing.upstream_server import ScriptedUpstream

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def _commands(page: str) -> list[list[str]]:
    """Every ``$ inhouse ...`` line of a page's console blocks."""
    text = (DOCS / page).read_text(encoding="utf-8")
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    return [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ inhouse")]


def _run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inhouse.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        check=False,
    )


def test_what_the_tutorial_says_to_doubt_with(tmp_path: Path) -> None:
    """On a project like the demo's; the demo's own figures are recomputed by its own test."""
    commands = [c for c in _commands("tutorial/demo.md") if c[1:3] == ["--dir", "inhouse-demo"]]
    commands = [command for command in commands if command[3] != "serve"]
    assert len(commands) >= 4
    assert _run(["init", "inhouse-demo"], tmp_path).returncode == 0
    for command in commands:
        done = _run(command[1:], tmp_path)
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.parametrize(
    "page", sorted(p.relative_to(DOCS).as_posix() for p in DOCS.glob("**/*.md"))
)
def test_every_command_shown_exists_with_its_options(page: str) -> None:
    for command in _commands(page):
        arguments = command[1:]
        if arguments[:1] == ["--dir"]:
            arguments = arguments[2:]
        nouns = [word for word in arguments if not word.startswith("-")][:2]
        done = CliRunner().invoke(app, [*nouns, "--help"])
        if done.exit_code:
            done = CliRunner().invoke(app, [*nouns[:1], "--help"])
        assert done.exit_code == 0, (command, done.output)
        for option in (word for word in arguments if word.startswith("--")):
            assert option.partition("=")[0] in done.output, (command, option)


def test_a_task_and_an_upstream_of_one_s_own(tmp_path: Path) -> None:
    """The path of the how-to pages: declare an upstream and a task, ask it, correct it."""
    with ScriptedUpstream({"tiny": "urgent"}) as server:
        (tmp_path / "inhouse.toml").write_text(
            f"""
            [upstreams.mine]
            base_url = "{server.base_url}"
            [tasks.urgency]
            kind = "choice"
            labels = ["urgent", "routine"]
            prompt = "Is this message urgent or routine? {{{{ input }}}}"
            chain = ["mine/tiny"]
            """,
            encoding="utf-8",
        )
        asked = _run(["task", "run", "urgency", "The server room is on fire."], tmp_path)
        assert asked.returncode == 0, asked.stderr
        assert asked.stdout.startswith("urgent  (mine/tiny")
        listed = _run(["interactions", "search", "--json"], tmp_path)
        interaction = re.search(r'"id": "([0-9a-f-]{36})"', listed.stdout)
        assert interaction is not None
        said = ["--kind", "correction", "--value", "routine"]
        told = _run(["feedback", "add", interaction[1], *said], tmp_path)
        assert told.returncode == 0, told.stderr
        built = _run(["dataset", "build", "urgency", "--json"], tmp_path)
        assert built.returncode == 0, built.stderr
        assert '"content_hash"' in built.stdout
