"""Labelled files: what is read, what is refused, and that an import can be repeated."""

from __future__ import annotations

import csv
import gzip
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from inhouse.core.errors import Invalid, NotFound
from inhouse.datasets.formats import delimited
from inhouse.datasets.ingest import ImportReport, import_file
from inhouse.datasets.tables import ImportedExample
from inhouse.db.dialects import table_of
from inhouse.db.tables import Meta
from inhouse.db.unit import Database
from inhouse.interactions.pseudonym import pseudonym
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


def _import(database: Database, path: Path, spec: TaskSpec = SPEC, **options: Any) -> ImportReport:
    return import_file(database, spec, path, clock=FrozenClock(), **options)


def _stored(database: Database) -> list[Any]:
    table = table_of(ImportedExample)
    with database.read() as unit:
        return list(unit.execute(select(table).order_by(table.c.row_number)))


def test_a_csv_comes_in_with_everything(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    path.write_bytes(
        "\ufefftext,label,document,published,weight\r\n"
        '"Profits rise,\nagain \u20ac",good,d1,2026-01-31T12:00:00+02:00,2\r\n'
        "Losses,bad,,2026-02-01,\r\n".encode()
    )
    report = _import(database, path)
    assert report == ImportReport(read=2, added=2, duplicate=0, bad=())
    first, second = _stored(database)
    assert first.input == "Profits rise,\nagain \u20ac"
    assert first.target == {"label": "good"}
    assert (first.group_key, first.weight, first.row_number) == ("d1", 2.0, 2)
    assert first.occurred_at == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert (second.group_key, second.weight, second.row_number) == (None, 1.0, 4)
    assert second.occurred_at == datetime(2026, 2, 1, tzinfo=UTC)
    assert first.source == "news.csv"
    assert first.task_revision == SPEC.revision


def test_json_lines_come_in_with_scores(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "tone.jsonl"
    rows = [
        {"input": "a \x00 b", "score": 0.5},
        {"input": "c", "score": {"value": -1}},
        {"input": "d", "score": 1.5},
        {"input": "e"},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    report = _import(database, path, SCORE)
    assert (report.read, report.added) == (4, 2)
    assert [line for line, _ in report.bad] == [3, 4]
    assert [row.target["value"] for row in _stored(database)] == [0.5, -1.0]


def test_bad_rows_are_named_and_the_others_stay(sqlite_database: Database, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(
        b"text,label,weight,published\n"
        b"fine,good,1,\n"
        b",good,1,\n"
        b"   ,good,1,\n"
        b"x,great,1,\n"
        b"x,,1,\n"
        b"x,good,0,\n"
        b"x,good,much,\n"
        b"x,good,1,yesterday\n"
        b"caf\xe9,good,1,\n"
        b"x,good\n"
        b"x,good,1,,,\n"
        b"\n"
        b"also fine,bad,1,\n"
    )
    report = _import(sqlite_database, path)
    assert (report.read, report.added, report.duplicate) == (12, 2, 0)
    assert [line for line, _ in report.bad] == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    reasons = dict(report.bad)
    assert "great" in reasons[5]
    assert reasons[10] == "not UTF-8"
    assert reasons[11] == "2 fields, the header has 4"


def test_a_field_without_an_end_costs_its_own_row(
    sqlite_database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "open.csv"
    path.write_text(f'text,label\nfine,good\n"{"x" * 200_000},bad\n', encoding="utf-8")
    report = _import(sqlite_database, path)
    assert (report.added, len(report.bad)) == (1, 1)
    assert report.bad[0][0] == 3


def test_a_long_quoted_text_stays_one_row(sqlite_database: Database, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    report = "a line of a report\n" * 10_000 + "forged,good\n"
    path.write_text(f'text,label\n"{report}",bad\nshort,good\n', encoding="utf-8")
    assert _import(sqlite_database, path).added == 2
    assert [row.input for row in _stored(sqlite_database)] == [report, "short"]


@pytest.mark.parametrize(
    ("lines", "added"),
    [
        ('"{long}\nforged,good\n",bad', 1),
        ('"x\n{long}\nforged,good\n",bad', 1),
        ("{long},bad", 2),
        ('"{long}",bad', 2),
    ],
)
def test_nothing_within_a_text_over_the_limit_is_a_row(
    sqlite_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: str,
    added: int,
) -> None:
    monkeypatch.setattr(delimited, "LONGEST_LINE", 100)
    path = tmp_path / "long.csv"
    content = lines.format(long="x" * 250)
    path.write_text(f"text,label\nfirst,good\n{content}\nlast,bad\n", encoding="utf-8")
    report = _import(sqlite_database, path)
    assert (report.added, [line for line, _ in report.bad]) == (added, [3])
    assert {row.input for row in _stored(sqlite_database)} <= {"first", "last"}


def test_many_lines_in_a_field_over_the_limit_end_the_file(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "LONGEST_LINE", 100)
    path = tmp_path / "long.csv"
    long = "some prose\n" * 50 + "forged,good\n"
    path.write_text(f'text,label\n"{long}",bad\nlast,bad\n', encoding="utf-8")
    usual = csv.field_size_limit(100)
    try:
        report = _import(sqlite_database, path)
    finally:
        csv.field_size_limit(usual)
    assert (report.added, [line for line, _ in report.bad]) == (0, [2])
    assert report.bad[0][1].startswith("nothing can be read from here on")


def test_an_import_can_be_repeated(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    path.write_text("text,label\none,good\none,good\ntwo,bad\n", encoding="utf-8")
    assert (_import(database, path).added, _import(database, path).added) == (2, 0)
    copy = tmp_path / "copy.csv"
    copy.write_text("label,text\ngood,one\ngood,three\n", encoding="utf-8")
    report = _import(database, copy)
    assert (report.read, report.added, report.duplicate) == (2, 1, 1)


def test_columns_can_be_named(sqlite_database: Database, tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    path.write_text("headline,mood,text\none,good,ignored\n", encoding="utf-8")
    _import(sqlite_database, path, columns={"text": "headline", "target": "mood"})
    assert [row.input for row in _stored(sqlite_database)] == ["one"]


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("headline,label\none,good\n", {}, "no column text or input; it has headline, label"),
        ("text,mood\none,good\n", {}, "no column label or target; it has text, mood"),
        ("", {}, "no column text or input; label or target; it has none"),
        ("text,label\none,good\n", {"group": "article"}, "no column article; it has text, label"),
        ("text,label\none,good\n", {"title": "text"}, "'title' is no role of a column"),
    ],
)
def test_a_file_without_the_columns_says_which_it_has(
    sqlite_database: Database,
    tmp_path: Path,
    content: str,
    columns: dict[str, str],
    message: str,
) -> None:
    path = tmp_path / "news.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(Invalid) as refused:
        _import(sqlite_database, path, columns=columns)
    assert refused.value.message.endswith(message)
    assert refused.value.code == "import-columns"


@pytest.mark.parametrize("name", ["news.xlsx", "news"])
def test_other_kinds_of_file_are_refused(
    sqlite_database: Database, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("text,label\n", encoding="utf-8")
    with pytest.raises(Invalid, match="neither its name") as refused:
        _import(sqlite_database, tmp_path / name)
    assert refused.value.code == "import-format"


def test_a_file_in_another_encoding_is_refused(sqlite_database: Database, tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_text("text,label\none,good\n", encoding="utf-16")
    with pytest.raises(Invalid, match="not UTF-8"):
        _import(sqlite_database, tmp_path / "wide.csv")


def test_a_missing_file_is_not_found(sqlite_database: Database, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        _import(sqlite_database, tmp_path / "none.csv")
    with pytest.raises(NotFound):
        _import(sqlite_database, tmp_path / "none", file_format="csv")


def test_progress_is_told_by_chunk(sqlite_database: Database, tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    rows = "".join(f"text {number},good\n" for number in range(1200))
    path.write_text("text,label\n" + rows, encoding="utf-8")
    told: list[int] = []
    assert _import(sqlite_database, path, progress=told.append).added == 1200
    assert told == [500, 1000, 1200]


SPANS = TaskSpec(
    name="marks", kind=TaskKind.SPANS, description="", labels=("ORG",), prompt="{{ input }}"
)


def test_columns_that_mean_nothing_are_counted(sqlite_database: Database, tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    path.write_text("text,label,split,id\none,good,train,\ntwo,bad,test,7\n", encoding="utf-8")
    assert _import(sqlite_database, path).unread == {"id": 1, "split": 2}


def test_strict_adds_nothing_when_one_row_is_bad(sqlite_database: Database, tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    rows = "".join(f"text {number},good\n" for number in range(700))
    path.write_text("text,label\n" + rows + "last,great\n", encoding="utf-8")
    with pytest.raises(Invalid, match=r"bad rows: 1, .*\. 702: 'great'") as refused:
        _import(sqlite_database, path, strict=True)
    assert refused.value.code == "import-bad-rows"
    assert _stored(sqlite_database) == []
    path.write_text("text,label\n" + rows, encoding="utf-8")
    assert _import(sqlite_database, path, strict=True).added == 700


def test_a_subject_is_kept_as_its_pseudonym(database: Database, tmp_path: Path) -> None:
    with database.write() as unit:
        unit.execute(table_of(Meta).insert().values(name="salt", value="ab" * 16))
    path = tmp_path / "news.csv"
    path.write_text("text,label,who\none,good,Ann\none,good,Bob\n", encoding="utf-8")
    assert _import(database, path).added == 1
    named = {"columns": {"subject": "who"}}
    assert _import(database, path, **named).added == 2
    assert _import(database, path, **named).duplicate == 2
    salt = bytes.fromhex("ab" * 16)
    stored = _stored(database)
    assert {row.subject for row in stored} == {pseudonym(salt, "Ann"), pseudonym(salt, "Bob")}


def test_a_row_gets_its_subject_later_and_keeps_its_id(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    path.write_text("text,label,who\none,good,Ann\none,good,Bob\n", encoding="utf-8")
    _import(database, path)
    (before,) = _stored(database)
    named = {"columns": {"subject": "who"}}
    assert _import(database, path, **named).added == 2
    assert len(_stored(database)) == 2
    assert before.id in {row.id for row in _stored(database) if row.subject}
    _import(database, path)
    assert _import(database, path, **named).duplicate == 2
    assert all(row.subject for row in _stored(database))


def test_a_file_whose_name_is_no_text_comes_in(sqlite_database: Database, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.csv")
    path.write_text("text,label\none,good\n", encoding="utf-8")
    _import(sqlite_database, path)
    assert _stored(sqlite_database)[0].source == "caf\ufffd.csv"


def test_conll_comes_in_as_spans(sqlite_database: Database, tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text(
        "-DOCSTART- -X- O O\n\n# split = train\nEU NNP X B-ORG\ncalls V X O\n. . X O\n\n"
        "Odd NNP X B-PERSON\n\n",
        encoding="utf-8",
    )
    report = _import(sqlite_database, path, SPANS)
    assert (report.format, report.added, report.unread) == ("conll", 1, {"split": 2})
    assert report.bad == ((8, "'PERSON' is no label"),)
    (row,) = _stored(sqlite_database)
    assert row.input == "EU calls."
    assert row.target == {"spans": [{"start": 0, "end": 2, "label": "ORG", "text": "EU"}]}
    assert row.group_key.startswith("document ")
    named = {"text": "1", "target": "2", "group": "split"}
    assert _import(sqlite_database, path, SPANS, columns=named).bad[0][1].startswith("tag 'NNP'")


def test_spans_come_in_from_a_column_of_json(sqlite_database: Database, tmp_path: Path) -> None:
    path = tmp_path / "marks.csv"
    path.write_text(
        "text,spans\n"
        'EU calls,"[{""text"": ""EU"", ""label"": ""ORG""}]"\n'
        "Nothing,[]\n"
        "EU calls,EU\n"
        'EU calls,"[{""start"": 0, ""end"": 99, ""label"": ""ORG""}]"\n',
        encoding="utf-8",
    )
    report = _import(sqlite_database, path, SPANS)
    assert (report.added, [line for line, _ in report.bad]) == (2, [4, 5])


def test_a_packed_file_comes_in(sqlite_database: Database, tmp_path: Path) -> None:
    path = tmp_path / "news.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\none,good\n"))
    report = _import(sqlite_database, path)
    assert (report.format, report.added) == ("csv", 1)
    assert _stored(sqlite_database)[0].source == "news.csv.gz"
