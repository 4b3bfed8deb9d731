"""Finding interactions: rare ones by their counts, texts in the newest calls only."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import delete

from inhouse.core.errors import Invalid
from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.interactions.filters import Facets, Span, read_tag
from inhouse.interactions.record import InteractionRecord, insert
from inhouse.interactions.search import Found, find, newest_tags
from inhouse.interactions.tables import Interaction
from inhouse.testing.clock import FrozenClock

HOURS = 60


def _fill(database: Database, clock: FrozenClock) -> list[InteractionRecord]:
    """Two calls an hour, newest first; every 20th hour one of them fails."""
    made = []
    for hour in range(HOURS):
        for place in range(2):
            failed = place == 1 and hour % 20 == 0
            made.append(
                InteractionRecord(
                    id=new_id(),
                    created_at=clock.now(),
                    status="failed" if failed else "answered",
                    input=f'No. {hour}: "ärger" 50 %' if place else f"no. {hour}",
                    output=None if failed else {"label": "good_one" if hour == 7 else "bad"},
                    latency_ms=1.0,
                    task="mood" if place else None,
                    reference=None if failed else "up/a",
                    hosting=None if failed else "external",
                    arm="incumbent",
                    tags={"from": "wire", "hour": str(hour)} if hour % 2 else None,
                )
            )
            clock.advance(1800)
    with database.write() as unit:
        insert(unit, made)
    return made[::-1]


def _ids(found: Found) -> list[str]:
    return [record.id for record in found.items]


def test_rare_calls_are_found_hour_by_hour(database: Database, clock: FrozenClock) -> None:
    made = _fill(database, clock)
    failed = [record.id for record in made if record.status == "failed"]
    assert len(failed) == 3
    with database.read() as unit:
        first = find(unit, Facets(status="failed"), Span(), limit=2)
        rest = find(unit, Facets(status="failed"), Span(), limit=2, before_id=first.next)
        assert _ids(first) + _ids(rest) == failed
        assert rest.next is None
        assert _ids(find(unit, Facets(reference="", task="mood"), Span())) == failed
        assert find(unit, Facets(reference="up/never"), Span()).items == []
        chats = find(unit, Facets(task=""), Span(), limit=1000)
        assert _ids(chats) == [record.id for record in made if record.task is None]


def test_pages_go_on_where_a_call_is_gone(database: Database, clock: FrozenClock) -> None:
    made = _fill(database, clock)
    with database.write() as unit:
        table = table_of(Interaction)
        unit.execute(delete(table).where(table.c.created_at < made[10].created_at))
    with database.read() as unit:
        assert _ids(find(unit, Facets(), Span(), limit=1000)) == [one.id for one in made[:11]]
        one = find(unit, Facets(), Span(), limit=3, before_id=made[4].id)
    assert _ids(one) == [record.id for record in made[5:8]]


def test_a_text_is_looked_for_in_input_and_output(database: Database, clock: FrozenClock) -> None:
    made = _fill(database, clock)
    with database.read() as unit:
        quoted = find(unit, Facets(), Span(), text='"ärger" 50 %', limit=1000)
        assert _ids(quoted) == [record.id for record in made if record.task]
        assert quoted.searched == 2 * HOURS
        assert len(find(unit, Facets(), Span(), text="NO. 7").items) == 2
        assert len(find(unit, Facets(), Span(), text="good_one").items) == 2
        assert find(unit, Facets(), Span(), text="goodXone").items == []
        assert find(unit, Facets(), Span(), text="50 % more").items == []
        assert len(find(unit, Facets(status="failed"), Span(), text="no. 20").items) == 1


def test_a_search_says_how_far_it_looked(database: Database, clock: FrozenClock) -> None:
    made = _fill(database, clock)
    with database.read() as unit:
        found = find(unit, Facets(), Span(), text="no. 3", most=30)
        assert (found.items, found.searched, found.reached) == ([], 30, made[29].created_at)
        seen: list[str] = []
        while found.reached is not None:
            found = find(unit, Facets(), Span(until=found.reached), text="no. 3", most=30)
            seen += _ids(found)
        assert len(seen) == len(set(seen)) == 2 * 11
        full = find(unit, Facets(), Span(), text="no.", limit=5)
        assert (full.searched, full.reached) == (None, None)
        assert full.next == made[4].id
        of_task = find(unit, Facets(task="mood"), Span(), text="nowhere", most=40)
        assert (of_task.searched, of_task.reached) == (40, made[78].created_at)


def test_tags_are_found_and_listed(database: Database, clock: FrozenClock) -> None:
    made = _fill(database, clock)
    since = clock.now() - timedelta(hours=10)
    with database.read() as unit:
        found = find(unit, Facets(), Span(), tag=read_tag("hour=5"))
        assert [record.tags["hour"] for record in found.items if record.tags] == ["5", "5"]
        assert find(unit, Facets(), Span(), tag=("hour", "5x")).items == []
        tags = newest_tags(unit, Facets(), Span(since=since), 1000)
    assert tags == [record.tags for record in made[:20] if record.tags]


@pytest.mark.parametrize("text", ["name", "=value", "="])
def test_a_tag_is_a_name_and_a_value(text: str) -> None:
    with pytest.raises(Invalid):
        read_tag(text)


def test_tags_of_calls_that_match_are_listed(database: Database, clock: FrozenClock) -> None:
    made = _fill(database, clock)
    with database.read() as unit:
        chats = newest_tags(unit, Facets(task=""), Span(), 40)
        failed = newest_tags(unit, Facets(status="failed"), Span(), 40)
    assert chats == [one.tags for one in made[:40] if one.tags and one.task is None]
    assert failed == []
