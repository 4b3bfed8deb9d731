"""Statements about interactions: stored once, checked as far as their interaction is known."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
from sqlalchemy import func, select

from inhouse.core.errors import Conflict, Invalid
from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database, WriteUnit
from inhouse.feedback.submit import FeedbackKind, FeedbackRecord, list_for, submit
from inhouse.feedback.tables import Feedback
from inhouse.interactions.record import InteractionRecord, insert
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock

SPEC = TaskSpec(
    name="mood",
    kind=TaskKind.CHOICE,
    description="",
    labels=("bad", "good"),
    prompt="{{ input }}",
)
SCORE = TaskSpec(name="tone", kind=TaskKind.SCORE, description="", low=-1.0, prompt="{{ input }}")
NAMES = TaskSpec(
    name="names", kind=TaskKind.SPANS, description="", labels=("PERSON",), prompt="{{ input }}"
)
REPORT = TaskSpec(
    name="report",
    kind=TaskKind.JSON,
    description="",
    schema={"type": "object", "properties": {"label": {"type": "object"}}},
    prompt="{{ input }}",
)
GIST = TaskSpec(name="gist", kind=TaskKind.TEXT, description="", prompt="{{ input }}")
CATALOG = Catalog([SPEC, SCORE, NAMES, REPORT, GIST])
CLOCK = FrozenClock()


def _recorded(unit: WriteUnit, spec: TaskSpec = SPEC, revision: str | None = None) -> str:
    record = InteractionRecord(
        id=new_id(),
        created_at=CLOCK.now(),
        status="answered",
        input="a text",
        latency_ms=1.0,
        task=spec.name,
        task_revision=revision or spec.revision,
    )
    insert(unit, [record])
    return record.id


def _say(
    unit: WriteUnit,
    interaction_id: str,
    value: Any,
    *,
    kind: str = "correction",
    author: str | None = "ann",
    key: str | None = None,
) -> FeedbackRecord:
    return submit(
        unit,
        interaction_id=interaction_id,
        kind=kind,
        value=value,
        author=author,
        idempotency_key=key,
        at=CLOCK.now(),
        catalog=CATALOG,
    )


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        ("correction", "good", {"label": "good"}),
        ("correction", {"label": "bad"}, {"label": "bad"}),
        ("outcome", "good", {"label": "good"}),
        ("rating", True, 1.0),
        ("rating", 0, 0.0),
        ("rating", 0.25, 0.25),
        ("comment", "too harsh \x00 \U0001f600", "too harsh \x00 \U0001f600"),
    ],
)
def test_each_kind_is_kept_in_one_form(
    database: Database, kind: str, value: Any, stored: Any
) -> None:
    with database.write() as unit:
        interaction_id = _recorded(unit)
        said = _say(unit, interaction_id, value, kind=kind)
    with database.read() as unit:
        assert list_for(unit, interaction_id) == [said]
    assert said.value == stored
    assert said.kind is FeedbackKind(kind)
    assert said.created_at == CLOCK.now()


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("correction", "great", "output"),
        ("correction", 0.5, "output"),
        ("correction", None, "feedback-value"),
        ("correction", True, "feedback-value"),
        ("correction", math.nan, "feedback-value"),
        ("correction", 10**400, "feedback-value"),
        ("correction", ["x" * 20_000], "feedback-value"),
        ("rating", 1.01, "feedback-value"),
        ("rating", math.nan, "feedback-value"),
        ("rating", "1", "feedback-value"),
        ("comment", "  ", "feedback-value"),
        ("comment", 3, "feedback-value"),
        ("comment", "\ud800", "feedback-value"),
        ("applause", "good", "feedback-kind"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_stored(
    sqlite_database: Database, kind: str, value: Any, code: str
) -> None:
    with sqlite_database.write() as unit:
        interaction_id = _recorded(unit)
    with pytest.raises(Invalid) as refused, sqlite_database.write() as unit:
        _say(unit, interaction_id, value, kind=kind)
    assert refused.value.code == code
    with sqlite_database.read() as unit:
        assert list_for(unit, interaction_id) == []


@pytest.mark.parametrize("author", ["", "x" * 129, "a\x00b", "\ud800"])
def test_an_author_is_a_printable_name(sqlite_database: Database, author: str) -> None:
    with pytest.raises(Invalid, match="author"), sqlite_database.write() as unit:
        _say(unit, new_id(), "good", author=author)


def test_an_interaction_is_named_by_its_id(sqlite_database: Database) -> None:
    with pytest.raises(Invalid) as refused, sqlite_database.write() as unit:
        _say(unit, "42", "good")
    assert refused.value.code == "interaction-id"


def test_early_feedback_and_that_of_another_revision_is_kept_unchecked(
    sqlite_database: Database,
) -> None:
    with sqlite_database.write() as unit:
        early = _say(unit, new_id(), "no label of any task")
        old = _say(unit, _recorded(unit, revision="0" * 16), "a label of then")
    assert early.value == {"label": "no label of any task"}
    assert old.value == {"label": "a label of then"}


def test_a_score_is_checked_against_its_range(sqlite_database: Database) -> None:
    with sqlite_database.write() as unit:
        interaction_id = _recorded(unit, SCORE)
        assert _say(unit, interaction_id, -1).value == {"value": -1.0}
    with pytest.raises(Invalid), sqlite_database.write() as unit:
        _say(unit, interaction_id, 1.5)


def test_a_repeat_is_the_same_record(database: Database) -> None:
    with database.write() as unit:
        interaction_id = _recorded(unit)
        first = _say(unit, interaction_id, "good")
        assert _say(unit, interaction_id, {"label": "good"}) == first
        keyed = _say(unit, interaction_id, "good", key="k")
        assert _say(unit, interaction_id, "good", key="k") == keyed
        anonymous = _say(unit, interaction_id, "good", author=None)
        assert _say(unit, interaction_id, "good", author=None) == anonymous
        assert list_for(unit, interaction_id) == [first, keyed, anonymous]


def test_a_change_of_mind_and_back_is_news(sqlite_database: Database) -> None:
    with sqlite_database.write() as unit:
        interaction_id = _recorded(unit)
        for value in ("good", "bad", "good"):
            _say(unit, interaction_id, value)
        said = [record.value["label"] for record in list_for(unit, interaction_id)]
    assert said == ["good", "bad", "good"]


def test_a_retry_with_a_key_still_matches_once_its_interaction_is_there(
    sqlite_database: Database,
) -> None:
    record = InteractionRecord(
        id=new_id(),
        created_at=CLOCK.now(),
        status="answered",
        input="a text",
        latency_ms=1.0,
        task=SCORE.name,
        task_revision=SCORE.revision,
    )
    with sqlite_database.write() as unit:
        early = _say(unit, record.id, 1, key="k")
        insert(unit, [record])
        assert _say(unit, record.id, {"value": 1.0}, key="k") == early


def test_a_key_belongs_to_one_statement(database: Database) -> None:
    with database.write() as unit:
        interaction_id = _recorded(unit)
        _say(unit, interaction_id, "good", key="k" * 1000)
    with pytest.raises(Conflict) as refused, database.write() as unit:
        _say(unit, interaction_id, "bad", key="k" * 1000)
    assert refused.value.code == "idempotency-mismatch"
    with database.read() as unit:
        assert len(list_for(unit, interaction_id)) == 1


def test_the_same_statement_at_the_same_time_is_stored_once(database: Database) -> None:
    interaction_id = new_id()
    barrier = threading.Barrier(4)
    ids: list[str] = []

    def run() -> None:
        barrier.wait(30)
        with database.write() as unit:
            ids.append(_say(unit, interaction_id, "good").id)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(ids) == 4
    assert len(set(ids)) == 1
    with database.read() as unit:
        assert unit.execute(select(func.count()).select_from(table_of(Feedback))).scalar() == 1


@pytest.mark.parametrize(
    ("spec", "value", "stored"),
    [
        (NAMES, {"spans": [{"text": "text", "label": "PERSON"}]}, None),
        (NAMES, {"spans": [{"start": 2, "end": 6, "label": "PERSON"}]}, None),
        (NAMES, {"spans": []}, None),
        (REPORT, {"label": {"a": 1}}, None),
        (GIST, "In short.", {"label": "In short."}),
        (GIST, {"text": "In short."}, None),
    ],
)
def test_a_correction_of_every_kind_is_stored_as_said(
    database: Database, spec: TaskSpec, value: Any, stored: Any
) -> None:
    with database.write() as unit:
        kept = _say(unit, _recorded(unit, spec), value)
    assert kept.value == (stored or value)


@pytest.mark.parametrize(
    ("spec", "value", "why"),
    [
        (NAMES, {"spans": [{"text": "Ada", "label": "PERSON"}]}, "'Ada' is not in the text"),
        (NAMES, {"spans": [{"start": 2, "end": 60, "label": "PERSON"}]}, "the text at 6"),
        (REPORT, {"label": "good"}, "no output of report: label"),
        (GIST, {"value": 1}, "an output of gist"),
    ],
)
def test_a_correction_that_does_not_fit_the_input_is_refused(
    database: Database, spec: TaskSpec, value: Any, why: str
) -> None:
    with database.write() as unit, pytest.raises(Invalid, match=why):
        _say(unit, _recorded(unit, spec), value)
