"""What of a call's content reaches the database: everything, redacted, or hashes."""

from __future__ import annotations

import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.hashing import digest_of
from inhouse.core.ids import new_id
from inhouse.datasets.curate import collect
from inhouse.db.unit import Database
from inhouse.feedback.submit import FeedbackRecord, list_for, submit
from inhouse.interactions.content import Content
from inhouse.interactions.record import InteractionRecord, Recorder
from inhouse.interactions.redact import Redactor
from inhouse.interactions.search import get, search
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec

REDACTOR = Redactor(("email", "secret"), {"badge": r"B-\d{4}"})
SPEC = TaskSpec(
    name="desk",
    kind=TaskKind.CHOICE,
    description="",
    labels=("B-1234", "sales"),
    prompt="{{ input }}",
)
CATALOG = Catalog([SPEC])
CLOCK = SystemClock()


def record(**changes: object) -> InteractionRecord:
    values = {
        "id": new_id(),
        "created_at": CLOCK.now(),
        "status": "answered",
        "input": "mail joe@example.com, badge B-1234",
        "latency_ms": 1.0,
        "task": "desk",
        "task_revision": SPEC.revision,
        "output": {"text": "joe@example.com it is"},
        "raw": "joe@example.com it is",
        "probabilities": {"sales": 1.0},
        "tags": {"who": "joe@example.com"},
        "attempts": [
            {"reference": "up/a", "ok": False, "code": "x", "message": "B-1234 not found"}
        ],
        "subject": "s" * 32,
        **changes,
    }
    return InteractionRecord(**values)  # type: ignore[arg-type]


def recorded(database: Database, content: Content, row: InteractionRecord) -> InteractionRecord:
    recorder = Recorder(database, clock=CLOCK, content=content)
    recorder.put(row)
    recorder.start()
    recorder.stop()
    with database.read() as unit:
        return get(unit, row.id)


def test_a_row_that_cannot_be_redacted_holds_up_no_other(sqlite_database: Database) -> None:
    deep: object = "x"
    for _ in range(2000):
        deep = [deep]
    told: list[Exception] = []
    content = Content(redactor=REDACTOR)
    recorder = Recorder(sqlite_database, clock=CLOCK, content=content, on_error=told.append)
    rows = [record(), record(input=deep), record()]
    for row in rows:
        recorder.put(row)
    recorder.start()
    recorder.stop()
    assert {type(error) for error in told} == {RecursionError}
    with sqlite_database.read() as unit:
        assert {row.id for row in search(unit)} == {rows[0].id, rows[2].id}


def test_everything_is_redacted_before_it_is_written(database: Database) -> None:
    row = record()
    kept = recorded(database, Content(redactor=REDACTOR), row)
    assert kept.input == "mail [email], badge [badge]"
    assert kept.output == {"text": "[email] it is"}
    assert kept.raw == "[email] it is"
    assert kept.tags == {"who": "[email]"}
    assert kept.attempts == [
        {"reference": "up/a", "ok": False, "code": "x", "message": "[badge] not found"}
    ]
    assert kept.probabilities == row.probabilities
    assert row.input == "mail joe@example.com, badge B-1234"


def test_messages_are_redacted_too(sqlite_database: Database) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "I am joe@example.com"}]}]
    kept = recorded(sqlite_database, Content(redactor=REDACTOR), record(input=messages))
    assert kept.input == [{"role": "user", "content": [{"type": "text", "text": "I am [email]"}]}]


@pytest.mark.parametrize("redactor", [None, REDACTOR])
def test_hashes_are_of_what_was_really_said(database: Database, redactor: Redactor | None) -> None:
    row = record()
    kept = recorded(database, Content(redactor=redactor, hashes_only=True), row)
    assert kept.input == {"sha256": digest_of(row.input)}
    assert kept.output == {"sha256": digest_of(row.output)}
    assert kept.raw is None
    assert kept.probabilities is None
    assert kept.tags == {"who": "[email]" if redactor else "joe@example.com"}
    assert kept.subject == row.subject


def test_no_output_has_no_hash(sqlite_database: Database) -> None:
    kept = recorded(sqlite_database, Content(hashes_only=True), record(output=None))
    assert kept.output is None


def test_no_data_set_is_made_of_hashes(database: Database) -> None:
    row = record()
    recorded(database, Content(hashes_only=True), row)
    say(database, row.id, "sales")
    with database.read() as unit:
        curated = collect(unit, SPEC)
    assert curated.examples == ()
    assert curated.dropped == {"empty-input": 1}


def say(database: Database, interaction_id: str, value: object, kind: str = "correction"):
    with database.write() as unit:
        return submit(
            unit,
            interaction_id=interaction_id,
            kind=kind,
            value=value,
            author=None,
            idempotency_key=None,
            at=CLOCK.now(),
            catalog=CATALOG,
            redactor=REDACTOR,
        )


def test_comments_and_corrections_are_redacted(database: Database) -> None:
    early = new_id()
    say(database, early, "ask joe@example.com", "comment")
    say(database, early, {"text": "B-9999"})
    say(database, early, 0.5)
    with database.read() as unit:
        values = [kept.value for kept in list_for(unit, early)]
    assert values == ["ask [email]", {"text": "[badge]"}, {"value": 0.5}]


def test_a_label_stays_a_label(database: Database) -> None:
    row = record(input="which desk?")
    recorded(database, Content(), row)
    kept: FeedbackRecord = say(database, row.id, "B-1234")
    assert kept.value == {"label": "B-1234"}
    assert say(database, new_id(), "B-1234").value == {"label": "B-1234"}
    assert say(database, new_id(), "B-5678").value == {"label": "[badge]"}
    with database.read() as unit:
        assert [dict(one.target) for one in collect(unit, SPEC).examples] == [{"label": "B-1234"}]


def test_a_repeat_is_known_although_it_is_redacted(sqlite_database: Database) -> None:
    early = new_id()
    first = say(sqlite_database, early, "ask joe@example.com", "comment")
    assert say(sqlite_database, early, "ask joe@example.com", "comment") == first
