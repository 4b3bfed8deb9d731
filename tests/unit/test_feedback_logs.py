"""Feedback logs of older systems: what is kept, what is learned from, and what is only counted."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from inhouse.core.errors import Invalid
from inhouse.core.ids import created_at
from inhouse.datasets.curate import collect
from inhouse.db.dialects import table_of
from inhouse.db.tables import Meta
from inhouse.db.unit import Database
from inhouse.feedback.logged import Logged, OtherEvent, read_line
from inhouse.feedback.logs import LogImport, import_log
from inhouse.feedback.submit import list_for
from inhouse.feedback.tables import Feedback
from inhouse.interactions.content import EVERYTHING, Content
from inhouse.interactions.pseudonym import pseudonym
from inhouse.interactions.redact import Redactor
from inhouse.interactions.tables import Interaction, Spent
from inhouse.monitoring.queries import Window, call_figures, count_calls
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec

SCORE = TaskSpec(name="bias", kind=TaskKind.SCORE, description="", low=-1.0, prompt="{{ input }}")
CHOICE = TaskSpec(
    name="sentiment",
    kind=TaskKind.CHOICE,
    description="",
    labels=("positive", "negative"),
    prompt="{{ input }}",
)
SPANS = TaskSpec(
    name="entities",
    kind=TaskKind.SPANS,
    description="",
    labels=("ORG", "PERSON"),
    prompt="{{ input }}",
)
AT = "2024-05-06T07:08:09.123456"
TEXT = "Ada joined Acme."


def _entry(event: str, around: dict[str, Any] | None = None, **details: Any) -> dict[str, Any]:
    return {"timestamp": AT, "event": event, "details": details, **(around or {})}


def _read(spec: TaskSpec, entry: Any) -> Logged:
    return read_line(spec, json.loads(json.dumps(entry)))


def _import(database: Database, spec: TaskSpec, *entries: Any, **options: Any) -> LogImport:
    lines = [
        entry if isinstance(entry, bytes) else json.dumps(entry).encode() + b"\n"
        for entry in entries
    ]
    settings: dict[str, Any] = {"source": "old.log", "content": EVERYTHING, **options}
    return import_log(database, spec, lines, catalog=Catalog([spec]), **settings)


def _calls(database: Database) -> list[Any]:
    table = table_of(Interaction)
    with database.read() as unit:
        return list(unit.execute(select(table).order_by(table.c.input)))


def test_what_a_log_line_says() -> None:
    entry = _entry(
        "score_bias",
        {"performance_metrics": {"inference_time": 1.5, "model_used": "ai/mistral"}},
        text="A text",
        score=0.7,
        raw_response="Bias score: 0.7",
        document="d1",
    )
    line = _read(SCORE, entry)
    assert line.at == datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    assert (line.text, line.output, line.correction) == ("A text", {"value": 0.7}, None)
    assert (line.raw, line.model, line.latency_ms) == ("Bias score: 0.7", "ai/mistral", 1500.0)
    assert line.tags == {"event": "score_bias", "document": "d1"}
    assert created_at(line.id) == line.at.replace(microsecond=123000)
    assert _read(SCORE, entry).id == line.id != _read(SCORE, {**entry, "x": 1}).id


@pytest.mark.parametrize(
    ("around", "details"),
    [
        ({}, {"corrected_score": -0.5}),
        ({}, {"score_corrected": -0.5}),
        ({}, {"human_score": -0.5}),
        ({}, {"correction": -0.5}),
        ({}, {"correction": {"score": -0.5}}),
        ({}, {"correction": {"value": -0.5}}),
        ({}, {"user_feedback": {"corrected_score": -0.5}}),
        ({"user_feedback": {"correction": -0.5}}, {}),
        ({"corrected_bias": -0.5}, {}),
        ({"expected": -0.5}, {}),
    ],
)
def test_names_that_a_correction_has(around: dict[str, Any], details: dict[str, Any]) -> None:
    assert _read(SCORE, _entry("score_bias", around, text="t", score=1, **details)).correction == {
        "value": -0.5
    }


@pytest.mark.parametrize(
    "entities",
    [
        [{"text": "Ada", "label": "PERSON"}, {"text": "Acme", "label": "ORG"}],
        [
            {"word": "Ada", "entity_group": "PERSON", "score": 0.9, "start": 0, "end": 3},
            {"word": "Acme", "entity_group": "ORG", "score": 0.9, "start": 11, "end": 15},
        ],
        [{"name": "Ada", "type": "PERSON"}, {"name": "Acme", "type": "ORG"}],
        [["Ada", "PERSON"], ["Acme", "ORG"]],
        [["Ada", "PERSON", 0, 3], ["Acme", "ORG", 11, 15]],
        {"entities": [[0, 3, "PERSON"], [11, 15, "ORG"]]},
        {"PERSON": ["Ada"], "ORG": ["Acme"]},
    ],
)
def test_shapes_that_entities_have(entities: Any) -> None:
    line = _read(SPANS, _entry("identify_entities", text=TEXT, entities=entities))
    assert line.output == {
        "spans": [
            {"start": 0, "end": 3, "label": "PERSON", "text": "Ada"},
            {"start": 11, "end": 15, "label": "ORG", "text": "Acme"},
        ]
    }


def test_labels_are_found_whatever_their_case() -> None:
    line = _read(CHOICE, _entry("sentiment_analysis", text="t", sentiment="POSITIVE", score=0.9))
    assert line.output == {"label": "positive"}


def test_a_failed_call_is_one() -> None:
    line = _read(SCORE, _entry("score_bias_error", text="t", error="timed out"))
    assert (line.failed, line.output, line.raw) == (True, None, "timed out")


@pytest.mark.parametrize(
    ("text", "metrics", "cut"),
    [("x" * 200, {}, True), ("x" * 199, {}, False), ("short", {"text_length": 900}, True)],
)
def test_a_text_that_the_log_cut_is_known(text: str, metrics: dict[str, int], cut: bool) -> None:
    around = {"performance_metrics": metrics}
    assert _read(SCORE, _entry("score_bias", around, text=text, score=0)).cut is cut
    spans = _entry("entities", around, text=text, entities=[{"text": "far", "label": "ORG"}])
    if cut:
        assert _read(SPANS, spans).output is None


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ([], "not a JSON object"),
        ({"event": "score_bias"}, "no event with details"),
        (_entry("score_bias", {"timestamp": "then"}, text="t", score=1), "no time"),
        (_entry("score_bias", {"timestamp": "1920-01-01"}, text="t", score=1), "before 1970"),
        (_entry("score_bias", score=1), "no text"),
        (_entry("score_bias", text="t"), "neither an answer nor a correction"),
        (_entry("score_bias", text="t", score=3), "no score of bias"),
        (_entry("score_bias", text="t", score=1, corrected_score=3), "no score of bias"),
    ],
)
def test_bad_lines_say_what_is_wrong(entry: Any, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        _read(SCORE, entry)


def test_events_of_other_tasks_are_named() -> None:
    with pytest.raises(OtherEvent, match="score_sentiment"):
        _read(SCORE, _entry("score_sentiment", text="t", score=1))
    other = _entry("rate_slant", text="t", score=1)
    assert read_line(SCORE, other, ["rate_slant"]).output == {"value": 1.0}
    with pytest.raises(OtherEvent):
        read_line(SCORE, _entry("score_bias", text="t", score=1), ["rate_slant"])


def test_corrections_become_examples_and_answers_never_do(database: Database) -> None:
    with database.write() as unit:
        unit.execute(table_of(Meta).insert().values(name="salt", value="ab" * 16))
    entries = [
        _entry("score_bias", text="answered", score=0.9, subject="Ann"),
        _entry("score_bias", text="corrected", score=0.9, corrected_score=-0.5, reviewer="bob"),
        _entry("score_bias", text="c" * 200, score=0.9, corrected_score=-0.5),
        _entry("score_bias_error", text="failed", error="down"),
        _entry("inference_success", model="m"),
        _entry("inference_success", model="m"),
        b"{not json\n",
        b"\n",
        _entry("score_bias", text="bad", score=7),
    ]
    report = _import(database, SCORE, *entries, author="ann")
    assert (report.read, report.calls, report.corrections, report.cut) == (8, 4, 1, 1)
    assert report.other == {"inference_success": 2}
    assert [line for line, _ in report.bad] == [7, 9]
    answered, cut, corrected, failed = _calls(database)
    assert (answered.output, answered.arm, answered.status) == (
        {"value": 0.9},
        "imported",
        "answered",
    )
    assert answered.subject == pseudonym(bytes.fromhex("ab" * 16), "Ann")
    assert answered.tags == {"source": "old.log", "event": "score_bias"}
    assert (failed.status, failed.raw, failed.hosting) == ("failed", "down", "external")
    with database.read() as unit:
        found = collect(unit, SCORE)
        assert [(one.input, one.target) for one in found.examples] == [
            ("corrected", {"value": -0.5})
        ]
        assert found.examples[0].occurred_at == corrected.created_at
        assert list_for(unit, corrected.id)[0].author == "bob"
        (comment,) = list_for(unit, cut.id)
        assert (comment.kind, comment.author) == ("comment", "ann")
        assert comment.value.startswith("corrected to -0.5")


def test_no_figure_counts_what_another_system_answered(database: Database) -> None:
    _import(database, SCORE, _entry("score_bias", text="t", score=0.9))
    window = Window(since=datetime(2024, 1, 1, tzinfo=UTC), until=datetime(2025, 1, 1, tzinfo=UTC))
    with database.read() as unit:
        assert count_calls(unit, window) == []
        assert call_figures(unit, window) == []
        assert unit.execute(select(table_of(Spent))).all() == []


def test_a_log_can_be_imported_again(database: Database) -> None:
    entries = [
        _entry("score_bias", text=f"t{n}", score=0.1, corrected_score=0.2) for n in range(510)
    ]
    told: list[int] = []
    first = _import(database, SCORE, *entries, entries[0], progress=told.append)
    assert (first.calls, first.corrections, first.repeated) == (510, 510, 1)
    assert told == [500, 511]
    again = _import(database, SCORE, *entries, author="another")
    assert (again.calls, again.corrections, again.repeated, again.bad) == (0, 0, 510, ())
    with database.read() as unit:
        assert len(unit.execute(select(table_of(Feedback))).all()) == 510


def test_content_is_kept_by_the_rules_of_calls(sqlite_database: Database) -> None:
    entry = _entry("score_bias", text="write to ann@example.org", score=0.5)
    _import(sqlite_database, SCORE, entry, content=Content(Redactor(("email",), {})))
    assert [call.input for call in _calls(sqlite_database)] == ["write to [email]"]
    other = _entry("score_bias", text="another", score=0.5)
    _import(sqlite_database, SCORE, other, content=Content(hashes_only=True))
    assert {"sha256"} in [set(call.input) for call in _calls(sqlite_database)]


def test_a_correction_that_cannot_be_stored_costs_its_line(sqlite_database: Database) -> None:
    entry = _entry("score_bias", text="t", score=0.5, corrected_score=0.1, reviewer="x" * 200)
    report = _import(sqlite_database, SCORE, entry)
    assert (report.calls, report.corrections, len(report.bad)) == (0, 0, 1)
    assert _calls(sqlite_database) == []
