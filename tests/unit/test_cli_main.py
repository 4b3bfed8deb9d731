"""What becomes of an error: one line, and its exit code."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inhouse.bootstrap import bootstrap
from inhouse.cli import main
from inhouse.settings import load_settings

Tell = Callable[..., tuple[int, str]]


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tell:
    """Runs a command: its exit code, and its one line on standard error."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["inhouse", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.run()
        (line,) = capsys.readouterr().err.splitlines()
        assert isinstance(ended.value.code, int)
        return ended.value.code, line

    return run


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path, tell: Tell) -> None:
    missing = tmp_path / "typo"
    code, line = tell("--dir", missing, "jobs", "list")
    assert code == 3
    assert line.startswith(f"error: there is no folder {missing} (`inhouse init")
    assert not missing.exists()


def test_a_database_that_is_none_is_said_to_be_none(tmp_path: Path, tell: Tell) -> None:
    (tmp_path / ".inhouse").mkdir()
    (tmp_path / ".inhouse" / "inhouse.db").write_bytes(b"no database" * 100)
    code, line = tell("--dir", tmp_path, "jobs", "list")
    assert (code, "file is not a database" in line) == (1, True)


@pytest.fixture
def only_read(tmp_path: Path) -> Path:
    """A project whose database may only be read."""
    path = tmp_path / ".inhouse" / "inhouse.db"
    bootstrap(load_settings(tmp_path, {})).database.close()
    url = f"sqlite:///file:{path}?mode=ro&uri=true"
    (tmp_path / "inhouse.toml").write_text(f'[database]\nurl = "{url}"\n', "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "command", [("serve", "--port", "0"), ("worker",), ("keys", "create", "--name", "ada")]
)
def test_a_database_that_may_only_be_read_is_said_to_be_so(
    only_read: Path, tell: Tell, command: tuple[str, ...]
) -> None:
    code, line = tell("--dir", only_read, *command)
    assert (code, "attempt to write a readonly database" in line) == (1, True)
    assert line.startswith("error: the database")


def test_what_only_reads_waits_for_no_lock(tmp_path: Path) -> None:
    """The runbook of a locked database reads its alerts."""
    path = tmp_path / ".inhouse" / "inhouse.db"
    bootstrap(load_settings(tmp_path, {})).database.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        done = CliRunner().invoke(main.app, ["--dir", str(tmp_path), "alerts", "list"])
    assert (done.exit_code, done.stdout) == (0, "no alerts\n")


def test_what_the_system_refuses_names_the_file(tmp_path: Path, tell: Tell) -> None:
    (tmp_path / "inhouse.toml").mkdir()
    told = tell("--dir", tmp_path, "jobs", "list")
    assert told == (2, f"error: {tmp_path / 'inhouse.toml'}: Is a directory")


def test_what_no_call_can_be_is_refused(tmp_path: Path, tell: Tell) -> None:
    code, line = tell("--dir", tmp_path, "interactions", "search", "--status", "refused")
    assert (code, "answered, flagged, failed, cancelled" in line) == (2, True)


def test_a_demo_with_a_bad_address_writes_nothing(tmp_path: Path, tell: Tell) -> None:
    code, _ = tell("demo", "--dir", tmp_path / "d", "--base-url", "nonsense", "--model", "x")
    assert code == 2
    assert not (tmp_path / "d").exists()


def test_a_list_that_is_empty_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = [
        *(f"{group} list" for group in ("task", "dataset", "versions", "evaluation", "store")),
        *(f"{group} list" for group in ("alerts", "jobs", "keys", "drift")),
        *("train status", "automation status", "interactions erasures"),
    ]
    silent = []
    for words in lists:
        monkeypatch.setattr("sys.argv", ["inhouse", "--dir", str(tmp_path), *words.split()])
        with pytest.raises(SystemExit):
            main.run()
        if len(capsys.readouterr().out.splitlines()) != 1:
            silent.append(words)
    assert silent == []


def test_a_value_that_is_nested_too_deeply_is_refused(tmp_path: Path, tell: Tell) -> None:
    add = ("--dir", tmp_path, "feedback", "add", "01890000-0000-7000-8000-000000000000")
    code, line = tell(*add, "--value", "[" * 100_000)
    assert (code, "nested too deeply" in line) == (2, True)


def test_an_argument_that_is_no_utf_8_is_refused(tmp_path: Path, tell: Tell) -> None:
    told = tell("--dir", tmp_path, "jobs", "pause", "--reason", "night shift \udcff")
    assert told == (2, "error: an argument holds bytes that are no UTF-8")
    code, line = tell("--dir", tmp_path, "feedback", "add", "x", "--value", "\udcff")
    assert (code, line.startswith("error: ")) == (2, True)
