"""Log lines as the command line writes them."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from inhouse.cli.logs import configure_logs
from inhouse.core.log import Log

LOG = Log("inhouse.test")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    ours = logging.getLogger("inhouse")
    handlers, level = ours.handlers, ours.level
    yield
    ours.handlers, ours.level = handlers, level


def test_a_line_has_time_level_event_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    LOG.info("job-started", name="training.run", attempt=1)
    LOG.warning("100 % of it", text="two\nlines", empty="")
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \[info     \] job-started {20}"
        r"attempt=1 name=training.run",
        first,
    )
    assert second.endswith(r"[warning  ] 100 % of it                    empty='' text='two\nlines'")


def test_an_error_brings_its_traceback_without_values(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    asked = "of nobody's business"
    with pytest.raises(ZeroDivisionError) as caught:
        len(asked) // 0
    LOG.unforeseen("unexpected error", caught.value)
    said = capsys.readouterr().err
    assert re.search(r"unexpected error\nTraceback \(most recent call last\):\n  File ", said)
    assert said.endswith("ZeroDivisionError: integer division or modulo by zero\n")
    assert asked not in said


def test_lines_below_the_level_are_left_out_and_every_line_comes_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs()
    configure_logs("warning")
    LOG.info("no")
    LOG.error("yes")
    assert capsys.readouterr().err.count("\n") == 1


def test_a_log_that_takes_nothing_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logs()
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    LOG.error("nobody reads this")
