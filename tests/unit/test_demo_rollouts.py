"""How the demo follows a rollout: what it tells, when it lets it go on, when it gives up."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from rich.console import Console

from inhouse.bootstrap import App, bootstrap
from inhouse.cli.demo.ask import TASK
from inhouse.cli.demo.folder import ROLLOUT
from inhouse.cli.demo.late import LateServer
from inhouse.cli.demo.rollouts import Rollouts, plan_in_words
from inhouse.cli.demo.tell import Teller, picked
from inhouse.rollout import records
from inhouse.settings import load_settings

TOML = """
[upstreams.some]
base_url = "http://127.0.0.1:9/v1"
[tasks.sentiment]
builtin = "sentiment"
chain = ["some/general"]
"""


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "inhouse.toml").write_text(TOML + ROLLOUT, encoding="utf-8")
    return bootstrap(load_settings(tmp_path, {}))


@pytest.fixture
def rollouts(app: App, tmp_path: Path) -> Rollouts:
    teller = Teller(Console(quiet=True), tmp_path, tmp_path / "story.json")
    return Rollouts(app=app, teller=teller, step="ramp")


def test_without_calls_it_ends_without_a_verdict(rollouts: Rollouts) -> None:
    begun = rollouts.start("some/candidate", "a test")
    assert rollouts.start("some/candidate", "again") == begun
    told = rollouts.follow(begun, lambda: True)
    assert [one.kind for one in told.decisions] == ["start", "abort"]
    assert told.rollout.state == "aborted"
    first, last = rollouts.teller.lines
    assert "some/candidate gets its first calls: a test" in first.text
    assert "no verdict" in last.text
    assert first.command == ("rollout", "history", TASK, "--id", begun, "--json")
    assert last.figures == {"0.decisions.1.kind": "abort", "0.decisions.1.weight_bp": 0}
    assert rollouts.start("some/candidate", "anew") != begun


def test_a_person_lets_go_on_what_evidence_holds(app: App, rollouts: Rollouts) -> None:
    begun = rollouts.start("some/candidate", "a test")
    with app.database.write() as unit:
        held = {"state": "held", "stopped_from": "ramping"}
        records.change(unit, records.get(unit, begun), **held)
    looks = iter([False, True])
    told = rollouts.follow(begun, lambda: next(looks), trusts=True)
    assert [one.kind for one in told.decisions] == ["start", "resume", "abort"]


def test_the_plan_in_words_is_the_one_declared(rollouts: Rollouts) -> None:
    words = plan_in_words(rollouts.plan)
    assert "10, 30, 50, 60, 70, 80, 90, 100 %" in words
    assert "at most 10 of 100 calls" in words
    assert "a chance of at most 5 %" in words


def test_figures_are_picked_as_they_are_printed() -> None:
    document = [{"a": {"b": [1, 2.5]}, "at": Path("x").name}]
    assert picked(document, "0.a.b.1", "0.at") == {"0.a.b.1": 2.5, "0.at": "x"}


def test_the_late_server_takes_the_call_and_stays_silent() -> None:
    patience = httpx.Timeout(30.0, read=0.05)
    with LateServer() as server, pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.base_url}/chat/completions", json={"model": "m"}, timeout=patience)
