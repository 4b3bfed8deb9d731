"""Experiments started on their page, over real sockets and without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.gateway.keys import Role, create
from inhouse.rollout import experiment_records as records
from inhouse.rollout import experiments, steer
from inhouse.rollout.declared import plan_of
from inhouse.rollout.experiment_records import ExperimentRecord
from inhouse.settings import (
    RolloutSettings,
    ServerSettings,
    Settings,
    TaskSettings,
    UpstreamSettings,
)
from inhouse.testing.visitor import Visitor

FORM = "/experiments/new"
ASKED = {"task": "tone", "a": "up/big", "b": "up/small", "metric": "correct", "horizon": "400"}


class Place(NamedTuple):
    app: App
    operator: Visitor
    viewer: Visitor

    def send(self, **changes: str) -> tuple[int, str]:
        """Send the form; status and text, or the address that follows."""
        token = self.operator.token(f"{FORM}?task=alone")
        answer = self.operator.post(FORM, {**ASKED, "csrf": token, "reason": "try", **changes})
        return answer.status, answer.headers.get("location", answer.text)

    def running(self) -> ExperimentRecord | None:
        with self.app.database.read() as unit:
            return records.open_of(unit, "tone")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server with keys, without a worker, with a task that is audited."""
    audited = RolloutSettings(audit=0.25, judge="up/judge", time_limit_s=3 * 86_400)
    chain = ("up/big", "up/small", "up/judge")
    tasks = {
        "tone": TaskSettings(builtin="sentiment", kind="choice", chain=chain, rollout=audited),
        "alone": TaskSettings(builtin="sentiment", kind="choice", chain=("up/big", "up/small")),
        "single": TaskSettings(builtin="sentiment", kind="choice", chain=("up/big",)),
    }
    app = bootstrap(
        Settings(
            server=ServerSettings(workers=0),
            upstreams={"up": UpstreamSettings(base_url="http://127.0.0.1:9/v1")},
            tasks=tasks,
            folder=tmp_path_factory.mktemp("experiments"),
        )
    )
    with app.database.write() as unit:
        keys = {role: create(unit, role.value, role, app.clock.now())[1] for role in Role}
    app.keys.refresh()
    with serve_in_thread(app) as server:
        visitors = [Visitor(server.url), Visitor(server.url)]
        for visitor, role in zip(visitors, (Role.OPERATOR, Role.VIEWER), strict=True):
            assert visitor.sign_in(keys[role]).status == 303
        yield Place(app, *visitors)


def faults(text: str) -> dict[str, str]:
    """What stands beside the fields, by their names."""
    found = re.findall(r'<span class="error" id="f-(\w+)-error">(.*?)</span>', text)
    named = re.findall(r'aria-invalid="true" aria-describedby="f-(\w+)-error"', text)
    assert sorted(named) == sorted(name for name, _ in found)
    return dict(found)


def test_the_form_shows_what_is_declared(place: Place) -> None:
    text = place.operator.get(f"{FORM}?task=tone").text
    assert '<option value="up/small" selected>' in text, "B is another than what answers now"
    assert 'name="days" type="text" value="3"' in text
    assert "as declared: up/judge" in text
    assert f'href="{FORM}"' in place.operator.get("/experiments").text
    assert "There is nothing to compare" in place.operator.get(f"{FORM}?task=single").text
    assert place.operator.get(f"{FORM}?task=nothing").status == 404
    assert place.operator.get(FORM).status == 200


def test_only_operators_start_one(place: Place) -> None:
    text = place.viewer.get(f"{FORM}?task=tone").text
    assert "Starting needs the role operator; you are signed in as viewer." in text
    assert f'href="{FORM}"' not in place.viewer.get("/experiments").text
    token = place.viewer.token(f"{FORM}?task=tone")
    sent = {**ASKED, "csrf": token, "reason": "try"}
    assert place.viewer.post(FORM, sent).status == 403
    assert place.operator.post(FORM, {**ASKED, "reason": "try"}).status == 403, "no token"
    assert place.running() is None


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"horizon": ""}, {"horizon": "This needs a number."}),
        (
            {"looks": "many", "alpha": "<b>"},
            {"looks": "&#39;many&#39; is no number.", "alpha": "&#39;&lt;b&gt;&#39; is no number."},
        ),
        ({"b": "up/big"}, {"b": "Up/big cannot be compared with itself."}),
        ({"reason": " "}, {"reason": "This needs a reason."}),
        ({"judge": "up/small"}, {"judge": "Up/small would judge its own answers."}),
        (
            {"metric": "mood"},
            {"metric": "&#39;mood&#39; is not compared, but success, correct, error, latency are."},
        ),
        (
            {"act": "plan", "effect": "0.3", "today": "2"},
            {"today": "Correct is a rate from 0 to 1."},
        ),
    ],
)
def test_what_is_wrong_stands_beside_its_field(
    place: Place, sent: dict[str, str], expected: dict[str, str]
) -> None:
    status, text = place.send(**sent)
    assert (status, faults(text)) == (422, expected)
    assert 'value="400"' in text or "horizon" in expected, "what was sent is kept"
    assert place.running() is None


def test_a_reference_that_may_not_answer_is_told_above(place: Place) -> None:
    status, text = place.send(b="tone@9")
    assert (status, faults(text)) == (404, {})
    assert "It did not start." in text
    status, text = place.send(b="ups/small")
    assert (status, faults(text)) == (422, {})
    assert "eclared: up" in text
    assert place.send(task="nothing")[0] == 404
    assert place.running() is None


def test_the_horizon_is_worked_out_and_nothing_begins(place: Place) -> None:
    status, text = place.send(act="plan", horizon="", effect="0.03", today="0.9")
    assert status == 200
    assert 'name="horizon" type="text" value="3631"' in text
    assert ">try</textarea>" in text, "what was written stays"
    assert place.running() is None


def test_it_starts_as_it_was_asked(place: Place) -> None:
    status, path = place.send(weight="20", days="2.5", audit="0.5")
    begun = place.running()
    assert begun is not None
    assert (status, path) == (303, f"/experiments/{begun.id}")
    asked = begun.question
    assert (asked.weight_bp, asked.days, asked.audit, asked.judge) == (2000, 2.5, 0.5, "up/judge")
    assert (begun.actor, begun.reason) == ("operator", "try")
    shown = place.operator.get(path).text
    assert "2.5 days after its start" in shown
    assert "50.0 % of the calls are drawn; up/judge labels them" in shown
    route = place.app.routes.get("tone")
    assert (route.candidate, route.weight_bp) == ("up/small", 2000), "at once"
    again = place.operator.get(f"{FORM}?task=tone").text
    assert "tone is split already." in again
    assert f'href="/experiments/{begun.id}"' in again
    assert place.send()[0] == 409
    with place.app.database.write() as unit:
        spec, said = place.app.catalog.get("tone"), {"actor": "ada", "reason": "enough"}
        now = place.app.clock.now()
        experiments.stop(unit, spec, records.get(unit, begun.id), at=now, **said)
        rollout = steer.start(
            unit, spec, candidate="up/small", plan=plan_of(RolloutSettings()), at=now, **said
        )
    assert f'href="/rollouts/{rollout.id}"' in place.operator.get(f"{FORM}?task=tone").text
