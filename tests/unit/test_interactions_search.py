"""Reading interactions: filters, pages, counts."""

from __future__ import annotations

import json
from datetime import timedelta

import msgspec
import pytest

from inhouse.client.control import InteractionPage
from inhouse.core.errors import Invalid, NotFound
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.interactions.filters import Facets, Span
from inhouse.interactions.record import InteractionRecord, insert
from inhouse.interactions.search import HostingCount, counts_by_hosting, find, get, search
from inhouse.testing.clock import FrozenClock


def add(database: Database, clock: FrozenClock, **fields: object) -> InteractionRecord:
    values = {
        "id": new_id(),
        "created_at": clock.now(),
        "status": "answered",
        "input": "text",
        "latency_ms": 10.0,
        "task": "mood",
        "arm": "incumbent",
        "reference": "up/a",
        "hosting": "external",
        **fields,
    }
    record = InteractionRecord(**values)  # type: ignore[arg-type]
    with database.write() as unit:
        insert(unit, [record])
    clock.advance(1)
    return record


def test_one_by_id(database: Database, clock: FrozenClock) -> None:
    record = add(database, clock)
    with database.read() as unit:
        assert get(unit, record.id) == record
        with pytest.raises(NotFound) as caught:
            get(unit, new_id())
    assert caught.value.code == "interaction-not-found"


def test_a_value_that_cannot_be_shown_is_told_as_text(
    database: Database, clock: FrozenClock
) -> None:
    odd = ["[1e999]", "[" * 300 + "]" * 300, "[" * 2000 + "]" * 2000, "not JSON"]
    for text in odd:
        add(database, clock, input=msgspec.Raw(text.encode()))
    plain = add(database, clock, input=[{"role": "user", "content": "hello"}])
    with database.read() as unit:
        page = find(unit, Facets(), Span())
    assert [row.input for row in page.items] == [plain.input, *odd[::-1]]
    shown = InteractionPage.model_validate(page).model_dump_json()
    assert len(json.loads(shown)["items"]) == 5


def test_filters_narrow(database: Database, clock: FrozenClock) -> None:
    start = clock.now()
    plain = add(database, clock)
    failed = add(database, clock, status="failed", reference=None, hosting=None)
    tried = add(database, clock, arm="candidate", reference="mood@1", hosting="own")
    other = add(database, clock, task="tone")
    chat = add(database, clock, task=None, arm="pinned")
    with database.read() as unit:
        assert search(unit) == [chat, other, tried, failed, plain]
        assert search(unit, task="mood") == [tried, failed, plain]
        assert search(unit, task="mood", status="failed") == [failed]
        assert search(unit, arm="candidate") == [tried]
        assert search(unit, reference="mood@1") == [tried]
        assert search(unit, since=other.created_at) == [chat, other]
        assert search(unit, until=failed.created_at) == [plain]
        assert search(unit, since=start, until=start) == []


def test_pages_meet_without_overlap(database: Database, clock: FrozenClock) -> None:
    everything = [add(database, clock) for _ in range(7)][::-1]
    seen: list[InteractionRecord] = []
    with database.read() as unit:
        while page := search(unit, limit=3, before_id=seen[-1].id if seen else None):
            assert len(page) <= 3
            seen += page
    assert seen == everything


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_size(sqlite_database: Database, limit: int) -> None:
    with pytest.raises(Invalid), sqlite_database.read() as unit:
        search(unit, limit=limit)


def test_counts_by_task_and_hosting(database: Database, clock: FrozenClock) -> None:
    start = clock.now()
    for latency in (5.0, 1.0, 3.0, 2.0):
        add(database, clock, latency_ms=latency, cost=0.25)
    add(database, clock, hosting="own", latency_ms=2.0)
    add(database, clock, hosting="own", latency_ms=4.0, arm="forced")
    add(database, clock, task="tone", hosting="local", latency_ms=7.0)
    add(database, clock, status="failed", hosting=None)
    add(database, clock, status="flagged", hosting=None)
    add(database, clock, task=None)
    end = clock.now()
    add(database, clock)
    external = HostingCount(
        task="mood", hosting="external", calls=4, cost=1.0, p50_ms=2.0, p95_ms=5.0
    )
    own = HostingCount(task="mood", hosting="own", calls=1, cost=0.0, p50_ms=2.0, p95_ms=2.0)
    tone = HostingCount(task="tone", hosting="local", calls=1, cost=0.0, p50_ms=7.0, p95_ms=7.0)
    with database.read() as unit:
        assert counts_by_hosting(unit, since=start, until=end) == [external, own, tone]
        both = counts_by_hosting(unit, since=start, until=end, forced=True)[1]
        assert (both.calls, both.p50_ms, both.p95_ms) == (2, 2.0, 4.0)
        later = end + timedelta(hours=1)
        assert counts_by_hosting(unit, since=later, until=later) == []
