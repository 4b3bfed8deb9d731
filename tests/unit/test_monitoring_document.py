"""The independence report to pass on: steps simulated, the past, and three forms of it."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from inhouse.client.independence import IndependenceDocument
from inhouse.core.ids import new_id
from inhouse.db.unit import Database, WriteUnit
from inhouse.interactions.record import InteractionRecord, insert
from inhouse.monitoring.document import POINTS, Document, Past, document
from inhouse.monitoring.independence import TaskUse, score
from inhouse.monitoring.render import as_html, as_markdown, chart_of
from inhouse.monitoring.report import IndependenceReport, Parity, TaskLine
from inhouse.monitoring.ways import Kind, ways
from inhouse.settings import UpstreamSettings
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock

NASTY = "<b>|x"
SPEC = TaskSpec(name="tone", kind=TaskKind.TEXT, description="", prompt="", chain=("up/large",))


def _line(task: str, **values: Any) -> TaskLine:
    fields: dict[str, Any] = {
        "own": 0,
        "local": 0,
        "external": 0,
        "unanswered": 0,
        "own_percent": 0.0,
        "own_version": None,
        "parity": None,
        **values,
    }
    return TaskLine(task=task, **fields)


def _parity(*, certified: bool) -> Parity:
    return Parity(
        certified=certified,
        verdict="pass" if certified else "inconclusive",
        general="up/large",
        general_about=NASTY,
        difference=0.01,
        low=-0.03,
        high=0.02,
        evaluation_id=new_id(),
    )


def _report(*lines: TaskLine) -> IndependenceReport:
    uses = [
        TaskUse(
            task=line.task,
            own=line.own,
            local=line.local,
            external=line.external,
            certified=line.parity is not None and line.parity.certified,
        )
        for line in lines
    ]
    parts, now = score(uses), FrozenClock().now()
    return IndependenceReport(
        score=parts.score if parts else None,
        parts=parts,
        sources_formula=None,
        since=now - timedelta(days=7),
        until=now,
        days=7,
        tasks=lines,
        steps=(),
    )


def test_every_step_is_simulated_by_itself() -> None:
    report = _report(
        _line("a", own=40, external=60, own_version="a@1", own_percent=40.0),
        _line("b", own=100, own_version="b@1", parity=_parity(certified=True)),
    )
    assert report.score == pytest.approx(40 * 0.7 + 40 * 0.7 + 20 * 0.5)
    found = {way.kind: way for way in ways(report)}
    assert [way.kind for way in ways(report)] == [Kind.TRAFFIC, Kind.CERTIFY, Kind.BRING_HOME]
    traffic, certify, home = (found[kind] for kind in (Kind.TRAFFIC, Kind.CERTIFY, Kind.BRING_HOME))
    assert (traffic.points, traffic.deployment, traffic.dependence, traffic.parity) == (
        pytest.approx(24.0),
        pytest.approx(12.0),
        pytest.approx(12.0),
        0.0,
    )
    assert (certify.points, certify.parity) == (10.0, pytest.approx(10.0))
    assert (home.points, home.dependence) == (6.0, pytest.approx(6.0))
    assert certify.score == pytest.approx(76.0)
    assert {way.task for way in found.values()} == {"a"}


def test_nothing_raises_the_score_of_all_own_and_as_good() -> None:
    line = _line("a", own=9, own_version="a@1", parity=_parity(certified=True))
    assert ways(_report(line)) == []
    assert ways(_report(_line("a", unanswered=3))) == []


def _calls(unit: WriteUnit, clock: FrozenClock, count: int, **values: Any) -> None:
    fields: dict[str, Any] = {
        "status": "answered",
        "input": "x",
        "latency_ms": 1.0,
        "task": "tone",
        "reference": "up/large",
        "hosting": "external",
        "arm": "incumbent",
        **values,
    }
    made = [InteractionRecord(id=new_id(), created_at=clock.now(), **fields) for _ in range(count)]
    insert(unit, made)


def _document(database: Database, clock: FrozenClock) -> Document:
    upstreams = {"up": UpstreamSettings.model_validate({"base_url": "http://up/v1"})}
    with database.read() as unit:
        return document(unit, [SPEC], upstreams, now=clock.now())


def test_the_past_is_told_with_its_gaps(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        _calls(unit, clock, 4)
        clock.advance(86_400)
        _calls(unit, clock, 4, hosting="local")
        clock.advance(20 * 86_400 + 3600)
        _calls(unit, clock, 4, hosting="own", reference="tone@1", cost=0.5)
    clock.advance(60)
    found = _document(database, clock)
    told = [(one.at.day, one.score) for one in found.past if one.score is not None]
    assert told[:3] == [(2, 0.0), (3, 10.0), (4, 10.0)]
    assert told[-1] == (22, 80.0)
    assert len(found.past) == POINTS + 1
    assert len(told) == 9
    assert found.report.score == 80.0
    assert found.costs == {"tone": 2.0}


class _Tags(HTMLParser):
    """Opened and closed tags, and everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.fetched += [name for name, _ in attrs if name in ("src", "href", "onclick")]
        if tag not in ("meta", "path", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "circle"):
            assert self.open.pop() == tag


def test_the_file_is_whole_and_needs_nothing(sqlite_database: Database, clock: FrozenClock) -> None:
    with sqlite_database.write() as unit:
        for _ in range(3):
            _calls(unit, clock, 5, cost=0.25)
            _calls(unit, clock, 5, hosting="own", reference="tone@1")
            _calls(unit, clock, 1, task=NASTY, reference=NASTY)
            clock.advance(86_400)
    found = _document(sqlite_database, clock)
    html, markdown = as_html(found), as_markdown(found)
    tags = _Tags()
    tags.feed(html)
    assert (tags.open, tags.fetched) == ([], [])
    assert not tags.names & {"script", "link", "img", "iframe"}
    assert NASTY not in html
    assert "&lt;b&gt;|x" in html
    shown = f"{found.report.score:.1f}"
    assert shown in html
    assert shown in markdown
    assert "3.75" in html, "saved: 15 calls at 0.25"
    assert "3.75" in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    tables = [line for line in markdown.splitlines() if re.fullmatch(r"\|[-:|]+\|", line)]
    assert len(tables) == 4
    assert all(line.endswith("|") for line in rows)
    plain = IndependenceDocument.model_validate(found)
    assert plain.report.score == found.report.score
    assert [way.points for way in plain.ways] == [way.points for way in found.ways]


def test_an_empty_report_says_so(sqlite_database: Database, clock: FrozenClock) -> None:
    found = _document(sqlite_database, clock)
    assert "No call of a task was answered" in as_html(found)
    assert as_markdown(found).startswith("# Independence: unknown\n")
    assert as_markdown(found).endswith(" by Inhouse.\n")
    assert chart_of(found.past) is None


def test_a_chart_breaks_where_nothing_is_known() -> None:
    begin = FrozenClock().now()
    scores = [10.0, 20.0, None, 40.0, None, 60.0, 70.0]
    past = [Past(at=begin + timedelta(days=n), score=one) for n, one in enumerate(scores)]
    found = chart_of(past)
    assert found is not None
    assert found.lines == ("M0.0 900.0 L166.7 800.0", "M833.3 400.0 L1000.0 300.0")
    assert found.dots == ((50.0, 60.0),)
    assert found.end == (100.0, 30.0)
    assert found.ticks[0] == (0.0, "1 Jan")
