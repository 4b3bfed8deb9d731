"""What people decide about automation on its page, over real sockets and without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from inhouse.automation import records
from inhouse.automation.steps import ProposalState, Step, Verb, What
from inhouse.bootstrap import App
from inhouse.jobs.pause import paused
from inhouse.settings import TaskSettings
from inhouse.testing.place import Place, open_place

WHY = "112 new corrections, 100 are enough"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server with keys, without a worker, where nothing begins by itself."""
    tone = TaskSettings(builtin="sentiment", kind="choice", chain=("up/m",))
    with open_place(tmp_path_factory.mktemp("automation"), {"tone": tone}) as opened:
        yield opened


def propose(app: App, based_on: str) -> str:
    step = Step(verb=Verb.PROPOSE, what=What.TRAIN, why=WHY, based_on=based_on)
    with app.database.write() as unit:
        made = records.add(unit, "tone", step, at=app.clock.now())
    assert made is not None
    return made.id


def state(app: App, proposal_id: str) -> tuple[ProposalState, str | None, str]:
    with app.database.read() as unit:
        found = records.get(unit, proposal_id)
    return found.state, found.decided_by, found.reason


def test_a_proposal_is_shown_and_declined_with_a_reason(place: Place) -> None:
    made = propose(place.app, "first")
    shown = place.operator.get("/automation")
    assert shown.status == 200
    assert "Train tone" in shown.text
    assert WHY in shown.text
    assert "proposal-open" in place.operator.get("/v1/overview").text
    path, token = f"/automation/proposals/{made}/decline", place.operator.token("/automation")
    assert place.operator.post(path, {"csrf": token}).status == 422
    assert state(place.app, made)[0] is ProposalState.OPEN
    sent = {"csrf": token, "reason": "the guideline changes"}
    assert place.operator.post(path, sent).status == 303
    assert state(place.app, made) == (ProposalState.DECLINED, "operator", "the guideline changes")
    assert place.operator.post(path, sent).status == 409
    assert "the guideline changes" in place.viewer.get("/automation").text


def test_accepting_queues_the_training(place: Place) -> None:
    made = propose(place.app, "second")
    token = place.operator.token("/automation")
    path = f"/automation/proposals/{made}/accept"
    assert place.operator.post(path, {"csrf": token, "reason": "go"}).status == 303
    with place.app.database.read() as unit:
        taken = records.get(unit, made)
    assert taken.state is ProposalState.ACCEPTED
    assert taken.result["job_id"]


def test_a_viewer_looks_and_decides_nothing(place: Place) -> None:
    made = propose(place.app, "third")
    shown = place.viewer.get("/automation").text
    assert WHY in shown
    assert "/accept" not in shown
    token = place.viewer.token("/")
    for path in (f"/automation/proposals/{made}/accept", "/automation/pause"):
        assert place.viewer.post(path, {"csrf": token, "reason": "x"}).status == 403
    assert state(place.app, made)[0] is ProposalState.OPEN


def test_background_work_is_paused_and_resumed(place: Place) -> None:
    token = place.operator.token("/automation")
    sent = {"csrf": token, "reason": "the disk is nearly full"}
    assert place.operator.post("/automation/pause", sent).status == 303
    with place.app.database.read() as unit:
        found = paused(unit)
    assert found is not None
    shown = place.viewer.get("/automation").text
    assert re.search(r"paused it at <time [^<]*</time>: the disk is nearly full", shown)
    assert found.reason == "the disk is nearly full"
    assert "the disk is nearly full" in place.viewer.get("/automation").text
    assert place.operator.post("/automation/resume", {"csrf": token}).status == 303
    with place.app.database.read() as unit:
        assert paused(unit) is None
