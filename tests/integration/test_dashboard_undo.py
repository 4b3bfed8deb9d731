"""Undo in the message after an act: the exact inverse, once, by who may, while nothing happened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from inhouse.bootstrap import App
from inhouse.dashboard.toasts import Toast, Undo, seal, unseal
from inhouse.jobs.pause import paused
from inhouse.registry import routes
from inhouse.registry.routes import Route
from inhouse.rollout import records, steer
from inhouse.rollout.plan import RolloutState
from inhouse.settings import TaskSettings
from inhouse.testing.place import Place, open_place
from inhouse.testing.rollouts import quick_plan
from inhouse.testing.visitor import Answer, Visitor

FORM = re.compile(r'<div class="toast">.*?<form method="post" action="([^"]*)">(.*?)</form>')
FIELD = re.compile(r'name="(\w+)" value="([^"]*)"')


class Offer(NamedTuple):
    path: str
    fields: dict[str, str]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A server with keys, whose controller steps nothing for want of calls."""
    tone = TaskSettings(builtin="sentiment", kind="choice", chain=("up/a",))
    with open_place(tmp_path, {"tone": tone}) as opened:
        yield opened


def offered(visitor: Visitor, sent: Answer) -> Offer | None:
    """What the message on the page after an act offers."""
    assert sent.status == 303, sent.text
    found = FORM.search(visitor.get(sent.headers["location"]).text)
    return None if found is None else Offer(found[1], dict(FIELD.findall(found[2])))


def weigh(place: Place, weight: str, candidate: str = "up/b") -> Answer:
    token = place.operator.token("/tasks/tone")
    fields = {"csrf": token, "candidate": candidate, "weight": weight, "reason": "try"}
    return place.operator.post("/tasks/tone/route", fields)


def route_of(app: App) -> Route:
    with app.database.read() as unit:
        found = routes.current(unit, "tone")
    assert found is not None
    return found


def test_a_share_goes_back_to_what_it_was(place: Place) -> None:
    weigh(place, "12.5")
    before = route_of(place.app)
    offer = offered(place.operator, weigh(place, "40"))
    assert offer is not None
    assert place.operator.post(offer.path, offer.fields).status == 303
    after = route_of(place.app)
    assert (after.weight_bp, after.candidate, after.salt) == (1250, "up/b", before.salt)
    assert (after.reason, after.actor) == (f"Undid revision {before.revision + 1}", "operator")
    assert after.revision == before.revision + 2


def test_no_share_goes_to_an_upstream_that_is_not_declared(place: Place) -> None:
    refused = weigh(place, "10", candidate="ups/b")
    assert (refused.status, "eclared: up" in refused.text) == (422, True)
    token = place.operator.token("/rollouts/new?task=tone")
    fields = {"csrf": token, "task": "tone", "candidate": "ups/b", "reason": "try"}
    refused = place.operator.post("/rollouts/new", fields)
    assert (refused.status, "eclared: up" in refused.text) == (422, True)
    with place.app.database.read() as unit:
        assert routes.current(unit, "tone") is None


def test_an_undo_is_refused_once_the_route_moved(place: Place) -> None:
    weigh(place, "10")
    offer = offered(place.operator, weigh(place, "20"))
    assert offer is not None
    weigh(place, "30")
    assert place.operator.post(offer.path, offer.fields).status == 409
    assert route_of(place.app).weight_bp == 3000


def test_an_undo_takes_token_and_role(place: Place) -> None:
    weigh(place, "10")
    offer = offered(place.operator, weigh(place, "20"))
    assert offer is not None
    theirs = offer.fields | {"csrf": place.viewer.token("/")}
    assert place.viewer.post(offer.path, theirs).status == 403
    assert place.operator.post(offer.path, offer.fields | {"csrf": "0"}).status == 403
    assert route_of(place.app).weight_bp == 2000


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("10", "up/b"), ("10", "up/c")),  # who meets it is drawn anew
        (("10", "up/b"), ("100", "up/b")),  # a version may become active
    ],
)
def test_what_has_no_exact_inverse_offers_none(
    place: Place, first: tuple[str, str], second: tuple[str, str]
) -> None:
    weigh(place, *first)
    assert offered(place.operator, weigh(place, *second)) is None


def test_a_pause_of_background_work_is_undone_while_it_is_that_one(place: Place) -> None:
    token = place.operator.token("/automation")
    sent = {"csrf": token, "reason": "wait"}
    offer = offered(place.operator, place.operator.post("/automation/pause", sent))
    assert offer is not None
    again = offered(place.operator, place.operator.post("/automation/pause", sent))
    assert again is None
    assert place.operator.post(offer.path, offer.fields).status == 303
    with place.app.database.read() as unit:
        assert paused(unit) is None
    place.operator.post("/automation/pause", sent)
    assert place.operator.post(offer.path, offer.fields).status == 409
    with place.app.database.read() as unit:
        assert paused(unit) is not None


def test_a_pause_of_a_rollout_is_undone_while_nothing_else_was_decided(place: Place) -> None:
    app = place.app
    with app.database.write() as unit:
        rollout = steer.start(
            unit,
            app.catalog.get("tone"),
            candidate="up/b",
            plan=quick_plan(),
            actor="ada",
            reason="",
            at=app.clock.now(),
        )
    page = f"/rollouts/{rollout.id}"
    sent = {"csrf": place.operator.token(page), "reason": "look first"}
    offer = offered(place.operator, place.operator.post(f"{page}/pause", sent))
    assert offer is not None
    assert offer.path == f"{page}/resume"
    assert place.operator.post(offer.path, offer.fields).status == 303
    with app.database.read() as unit:
        now = records.get(unit, rollout.id)
        last = records.decisions(unit, rollout.id)[-1]
    assert (now.state, now.stopped_from) == (RolloutState.RAMPING, None)
    assert (last.kind, last.actor) == ("resume", "operator")
    assert "Undid the pause" in last.reasons
    place.operator.post(f"{page}/pause", sent)
    assert place.operator.post(offer.path, offer.fields).status == 409
    with app.database.read() as unit:
        assert records.get(unit, rollout.id).state is RolloutState.PAUSED


def test_nobody_else_seals_a_message() -> None:
    toast = Toast("Paused", Undo("/tasks/rollback", {"reason": "x"}))
    sealed = seal(b"secret", "session", toast)
    assert unseal(b"secret", "session", sealed) == toast
    for secret, session, value in (
        (b"secret", "another", sealed),
        (b"other", "session", sealed),
        (b"secret", "session", "x" + sealed),
        (b"secret", "session", sealed[:-1]),
        (b"secret", "session", "Paused"),
        (b"secret", "session", "\N{BULLET}.\N{BULLET}"),
        (b"secret", "session", ""),
    ):
        assert unseal(secret, session, value) is None
