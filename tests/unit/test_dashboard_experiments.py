"""What the form of an experiment asks, and what it says is wrong where."""

from __future__ import annotations

import pytest

from inhouse.core.errors import Conflict, Invalid
from inhouse.dashboard import experiments_view as view
from inhouse.rollout.findings import Unanswerable
from inhouse.rollout.trial import Measure
from inhouse.settings import RolloutSettings

DECLARED = RolloutSettings(audit=0.05, judge="up/judge", time_limit_s=2.5 * 86_400)
SENT = {"a": "up/a", "b": "up/b", "metric": "correct", "horizon": "3631", "weight": "12,5"}
DIFFERENCE = {"effect": "0.03", "today": "0.9"}


def test_a_form_becomes_a_question() -> None:
    asked = view.question("tone", DECLARED, SENT)
    assert (asked.task, asked.a, asked.b, asked.metric) == ("tone", "up/a", "up/b", Measure.CORRECT)
    assert (asked.weight_bp, asked.horizon, asked.looks, asked.alpha) == (1250, 3631, 5, 0.05)
    assert (asked.days, asked.audit, asked.judge) == (2.5, 0.05, "up/judge")
    said = {"looks": "3", "alpha": "0.01", "days": "7", "audit": "0.5"}
    other = view.question("tone", DECLARED, {**SENT, **said, "judge": "up/other"})
    assert (other.looks, other.alpha, other.days, other.audit) == (3, 0.01, 7.0, 0.5)
    assert other.judge == "up/other"
    alone = view.question("tone", DECLARED, {**SENT, "judge": view.NONE})
    assert (alone.audit, alone.judge) == (0.05, "")
    unlabelled = view.question("tone", DECLARED, {**SENT, "metric": "success"})
    assert (unlabelled.audit, unlabelled.judge) == (0.0, "")


@pytest.mark.parametrize(
    ("sent", "faults"),
    [
        ({"horizon": "", "looks": "many"}, {"horizon": "a number", "looks": "'many' is no number"}),
        ({"horizon": "4e3", "alpha": "nan"}, {"horizon": "is no number", "alpha": "is no number"}),
        ({"weight": "1e300"}, {"weight": "is no number"}),
        ({"weight": "100", "days": "-1"}, {"weight": "between 1 and 99", "days": "above 0"}),
        ({"b": "up/a", "horizon": "7"}, {"b": "with itself", "horizon": "at least 200"}),
        ({"looks": "0"}, {"looks": "1 to 20"}),
        ({"metric": "success", "audit": "0.5"}, {"audit": "counts no labels"}),
    ],
)
def test_what_is_wrong_is_said_of_every_field(sent: dict[str, str], faults: dict[str, str]) -> None:
    with pytest.raises(Unanswerable) as caught:
        view.question("tone", DECLARED, {**SENT, **sent})
    found = view.faults_of(caught.value)
    assert found.keys() == faults.keys()
    assert all(words in found[name] for name, words in faults.items())


def test_the_horizon_is_that_of_the_command() -> None:
    even = {**SENT, "horizon": "", "weight": "50", **DIFFERENCE}
    assert view.horizon("tone", DECLARED, even) == 3631
    spread = {**even, "metric": "latency", "effect": "0.1", "today": "0,4"}
    assert 500 < view.horizon("tone", DECLARED, spread) < 520


@pytest.mark.parametrize(
    ("sent", "field", "words"),
    [
        ({"effect": ""}, "effect", "this needs a number"),
        ({"effect": "0"}, "effect", "at least 0.000001"),
        ({"effect": "0.95"}, "effect", "from 0.9 no rate is 0.95 away"),
        ({"effect": "0.00001"}, "effect", "more than 10,000,000 outcomes"),
        ({"today": "1.5"}, "today", "a rate from 0 to 1"),
        ({"today": "0", "metric": "error"}, "today", "above 0"),
        ({"looks": "1000000000"}, "looks", "1 to 20"),
    ],
)
def test_a_difference_that_cannot_be_planned(sent: dict[str, str], field: str, words: str) -> None:
    with pytest.raises(Unanswerable) as caught:
        view.horizon("tone", DECLARED, {**SENT, **DIFFERENCE, **sent})
    assert caught.value.faults.keys() == {field}
    assert words in caught.value.faults[field]


def test_errors_stand_beside_their_field() -> None:
    assert view.faults_of(None) == {}
    assert view.faults_of(Invalid("say why", code="reason")) == {"reason": "say why"}
    assert view.faults_of(Invalid("no", code="audit-judge")) == {"judge": "no"}
    assert view.faults_of(Conflict("it runs", code="experiment-running")) == {}


def test_fields_hold_what_was_sent_or_is_usual() -> None:
    fresh = view.written({}, DECLARED)
    assert (fresh["horizon"], fresh["weight"], fresh["looks"]) == ("", "50", "5")
    assert (fresh["days"], fresh["audit"], fresh["metric"]) == ("2.5", "", "success")
    assert view.written({"days": "9", "weight": ""}, DECLARED)["weight"] == ""
    known = ["up/b", "up/a", "up/a", "tone@1", "embedded/base"]
    assert view.judges(DECLARED, known) == [
        ("", "as declared: up/judge"),
        ("none", "nobody; people label"),
        *((name, name) for name in ("embedded/base", "up/a", "up/b")),
    ]
