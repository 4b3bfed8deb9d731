"""What becomes of an error: one line, and its exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inhouse.cli import main

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
