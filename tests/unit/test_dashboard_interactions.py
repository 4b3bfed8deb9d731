"""What the overview and the interactions show, without a server: words, links, forms."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from inhouse.core.errors import Invalid
from inhouse.core.ids import new_id
from inhouse.dashboard import corrections, overview_view
from inhouse.dashboard import interactions_view as view
from inhouse.dashboard.interactions_view import Filters
from inhouse.interactions.entry import InteractionRecord
from inhouse.interactions.filters import Facets
from inhouse.monitoring.activity import Activity, ActivitySlot, FacetCount
from inhouse.monitoring.concern import Concern, Level
from inhouse.monitoring.journeys import Journey
from inhouse.monitoring.overview import Period, TaskSummary
from inhouse.tasks.spec import TaskKind, TaskSpec

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def record(**changes: Any) -> InteractionRecord:
    values: dict[str, Any] = {
        "id": new_id(),
        "created_at": NOW,
        "status": "answered",
        "input": "it's late",
        "latency_ms": 100.0,
        "task": "mood",
        "reference": "up/b",
        "hosting": "local",
        **changes,
    }
    return InteractionRecord(**values)


def spec(kind: TaskKind, **more: Any) -> TaskSpec:
    return TaskSpec(name="t", kind=kind, description="", prompt="{{ input }}", **more)


def test_attempts_share_the_time_scale_of_their_call() -> None:
    attempts = [
        {"reference": "up/x", "ok": False, "code": "breaker-open", "latency_ms": 0.0},
        {"reference": "up/a", "ok": False, "code": "timeout", "latency_ms": 75.0, "message": "m"},
        {"reference": "up/b", "ok": True, "code": None, "latency_ms": 20.0},
    ]
    skipped, failed, answered = view.tries(record(attempts=attempts))
    assert (skipped.words, skipped.skipped, skipped.start) == ("skipped: breaker-open", True, 0.0)
    assert (failed.start, failed.width, failed.look, failed.message) == (0.0, 75.0, "fail", "m")
    assert (answered.start, answered.width, answered.look) == (75.0, 20.0, "general")
    assert view.tries(record(attempts=None)) == []


def test_a_link_keeps_the_other_filters_and_begins_at_the_newest() -> None:
    filters = Filters(
        period=Period.WEEK, facets=Facets(task="mood", hosting=""), text="a b", before="x"
    )
    assert filters.path() == "/interactions?window=7d&task=mood&hosting=-&q=a+b"
    assert filters.path(task="") == "/interactions?window=7d&hosting=-&q=a+b"
    assert filters.here(open="o").endswith("&before=x&open=o")
    assert filters.narrowed
    assert not Filters().narrowed


def test_facets_are_links_that_set_and_lift() -> None:
    counts = {name: [FacetCount(value="only", calls=3)] for name in ("task", "arm", "reference")}
    counts["status"] = [FacetCount(value="answered", calls=2), FacetCount(value="failed", calls=1)]
    counts["hosting"] = [FacetCount(value="own", calls=2), FacetCount(value="", calls=1)]
    found = Activity(since=NOW, until=NOW, calls=3, failed=1, slots=(), facets=counts)
    shown = view.choices(Filters(facets=Facets(status="failed", arm="gone")), found)
    assert list(shown) == ["status", "hosting", "arm"]
    answered, failed = shown["status"]
    assert "status=answered" in answered.path
    assert failed.chosen
    assert "status" not in failed.path
    assert [one.words for one in shown["hosting"]] == ["own", "nobody"]
    assert [(one.value, one.calls, one.chosen) for one in shown["arm"]][-1] == ("gone", 0, True)


def test_the_histogram_marks_hours_with_failures() -> None:
    slots = tuple(
        ActivitySlot(start=NOW + timedelta(hours=hour), calls=200, failed=failed)
        for hour, failed in enumerate((0, 2, 3))
    )
    found = Activity(since=NOW, until=NOW, calls=600, failed=5, slots=slots, facets={})
    chart = view.calls_over_time(found, "/v1/activity")
    assert [bar.bar.look for bar in chart.bars] == ["general", "general", "bad"]
    assert "600 calls" in chart.frame.finding


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("plain", "plain"),
        ([{"role": "system", "content": "s"}, {"role": "user", "content": "last"}], "last"),
        ({"a": 1}, '{\n  "a": 1\n}'),
        ([], "[]"),
        ({"erased": True}, "(erased)"),
    ],
)
def test_what_was_asked_as_text(given: Any, text: str) -> None:
    assert view.input_text(record(input=given)) == text


def test_a_call_as_a_command() -> None:
    said = view.curl(record(), "http://h", with_key=True)
    assert "http://h/v1/tasks/mood/run" in said
    assert "$INHOUSE_KEY" in said
    messages = [{"role": "user", "content": "x"}]
    chat = view.curl(record(task=None, input=messages), "http://h", with_key=False)
    assert "/v1/chat/completions" in chat
    assert "up/b" in chat
    assert view.curl(record(task=None, input="embedded"), "http://h", with_key=False) == ""


@pytest.mark.parametrize(
    ("kind", "typed", "value"),
    [
        (TaskKind.CHOICE, "good", {"label": "good"}),
        (TaskKind.SCORE, "\N{MINUS SIGN}0,5", {"value": -0.5}),
        (TaskKind.TEXT, "better", {"text": "better"}),
        (TaskKind.SPANS, '[{"text": "a", "label": "X"}]', {"spans": [{"text": "a", "label": "X"}]}),
        (TaskKind.JSON, '{"a": 1}', {"a": 1}),
    ],
)
def test_a_correction_is_read_by_its_kind(kind: TaskKind, typed: str, value: Any) -> None:
    (said,) = corrections.read({"correction": typed}, spec(kind), None)
    assert (said.kind, said.value) == ("correction", value)


def test_what_was_filled_in_and_left_is_no_correction() -> None:
    text, output = spec(TaskKind.TEXT), {"text": "as it was"}
    form = {"correction": corrections.prefilled(text, output), "rating": "right", "comment": " c "}
    said = corrections.read(form, text, output)
    assert [(one.kind, one.value) for one in said] == [("rating", 1.0), ("comment", "c")]
    spans = {"spans": [{"start": 0, "end": 1, "label": "X", "text": "a"}]}
    form = {"correction": corrections.prefilled(spec(TaskKind.SPANS), spans)}
    with pytest.raises(Invalid, match="nothing is said"):
        corrections.read(form, spec(TaskKind.SPANS), spans)


@pytest.mark.parametrize(
    ("kind", "typed"), [(TaskKind.SCORE, "much"), (TaskKind.JSON, "{"), (TaskKind.SPANS, "[")]
)
def test_a_correction_that_cannot_be_read_is_refused(kind: TaskKind, typed: str) -> None:
    with pytest.raises(Invalid):
        corrections.read({"correction": typed}, spec(kind), None)


def task(**changes: Any) -> TaskSummary:
    journey = Journey(corrections=0, run=None, version=None, verdict=None)
    plain = TaskSummary(
        task="mood",
        declared=True,
        own=0,
        local=5,
        external=0,
        unanswered=0,
        p50_ms=1.0,
        p95_ms=1.0,
        cost=0.0,
        incumbent="up/a",
        candidate=None,
        weight_bp=0,
        pin=None,
        own_version=None,
        journey=journey,
    )
    return replace(plain, **changes)


def test_the_first_step_that_is_not_done_is_the_present_one() -> None:
    def states(**changes: Any) -> list[str]:
        return [stage.state for stage in overview_view.stages(task(**changes))]

    assert states() == ["done", "now", "", "", ""]
    failed = Journey(corrections=3, run="failed", version=None, verdict=None)
    assert states(journey=failed) == ["done", "done", "bad", "", ""]
    refused = Journey(corrections=3, run="succeeded", version="mood@1", verdict="fail")
    assert states(journey=refused) == ["done", "done", "done", "bad", ""]
    passed = Journey(corrections=3, run="succeeded", version="mood@1", verdict="pass")
    assert states(journey=passed, own=2, local=3)[-1] == "now"
    assert states(journey=passed, own=5, local=0) == ["done"] * 5


def test_traffic_in_words() -> None:
    say = overview_view.traffic_words
    assert say(task()) == "all to up/a"
    assert say(task(candidate="mood@1", weight_bp=2500)) == "25 % to mood@1"
    assert say(task(candidate="mood@1", weight_bp=10_000)) == "all to mood@1"
    assert say(task(pin="up/b")) == "all to up/b, pinned"
    assert say(task(incumbent="")) == "nobody"


def test_each_concern_leads_somewhere() -> None:
    def path(code: str, about: str) -> str:
        concern = Concern(code=code, level=Level.BAD, title="", text="", about=about)
        way = overview_view.way(concern, Period.DAY)
        return way.path if way else ""

    assert path("calls-fail", "mood") == "/interactions?window=24h&task=mood&status=failed"
    assert path("training-failed", "run") == "/training/run"
    assert path("gate-failed", "e") == "/evaluations/e"
    assert path("recording-fails", "") == ""
    assert overview_view.version_path("a.b@3") == "/versions/a.b/3"
    assert overview_view.version_path("up/m@1") == ""
