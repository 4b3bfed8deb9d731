"""Feedback from a file: bad lines are named, good ones stored once."""

from __future__ import annotations

import json
from typing import Any

from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.feedback.ingest import FeedbackImport, import_rows
from inhouse.feedback.submit import list_for
from inhouse.tasks.catalog import Catalog
from inhouse.testing.clock import FrozenClock


def _line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _import(database: Database, lines: list[bytes]) -> FeedbackImport:
    return import_rows(database, lines, catalog=Catalog([]), clock=FrozenClock(), author="file")


def test_bad_lines_are_named_and_good_ones_stored(database: Database) -> None:
    one, two = new_id(), new_id()
    lines = [
        b"\xef\xbb\xbf" + _line(interaction_id=one, kind="correction", value="good"),
        b"\n",
        b"{not json\n",
        b"[1]\n",
        _line(interaction_id="x", kind="correction", value="good"),
        _line(interaction_id=two, kind="rating", value=7),
        _line(interaction_id=two, kind="rating", value=1, mood="x"),
        b'{"kind": "\xff"}\n',
        b'{"value": ' + b"[" * 100_000 + b"\n",
        _line(interaction_id=two, kind="comment", value="late", author="bo"),
    ]
    report = _import(database, lines)
    assert (report.read, report.added, report.repeated) == (9, 2, 0)
    assert [line for line, _ in report.bad] == [3, 4, 5, 6, 7, 8, 9]
    assert dict(report.bad)[7] == "unknown fields: mood"
    with database.read() as unit:
        assert [said.author for said in list_for(unit, one)] == ["file"]
        assert [said.author for said in list_for(unit, two)] == ["bo"]


def test_a_second_import_changes_nothing(sqlite_database: Database) -> None:
    interaction_id = new_id()
    lines = [
        _line(interaction_id=interaction_id, kind="correction", value=value)
        for value in ("good", "good", "bad", "good", "bad")
    ]
    first = _import(sqlite_database, lines)
    assert (first.added, first.repeated) == (4, 1)
    second = _import(sqlite_database, lines)
    assert (second.added, second.repeated) == (0, 5)
    with sqlite_database.read() as unit:
        said = [record.value["label"] for record in list_for(unit, interaction_id)]
    assert said == ["good", "bad", "good", "bad"]


def test_a_key_of_its_own_says_it_again(sqlite_database: Database) -> None:
    interaction_id = new_id()
    line = {"interaction_id": interaction_id, "kind": "rating", "value": 1}
    report = _import(
        sqlite_database,
        [_line(**line), _line(**line, idempotency_key="2"), _line(**line, idempotency_key="2")],
    )
    assert (report.added, report.repeated) == (2, 1)


def test_many_lines_are_committed_in_chunks(sqlite_database: Database) -> None:
    lines = [_line(interaction_id=new_id(), kind="rating", value=1) for _ in range(1001)]
    told: list[int] = []
    report = import_rows(
        sqlite_database,
        lines,
        catalog=Catalog([]),
        clock=FrozenClock(),
        progress=told.append,
    )
    assert report.added == 1001
    assert told == [500, 1000, 1001]
