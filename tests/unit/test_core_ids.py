"""The time that an id carries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from inhouse.core.errors import Invalid
from inhouse.core.ids import created_at, new_id


def test_an_id_tells_when_it_was_made() -> None:
    assert abs(created_at(new_id()) - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    "text",
    [
        "e973d8d4-ef32-9a63-c131-4d70028d14b0",  # no UUIDv7
        "ffffffff-ffff-7fff-bfff-ffffffffffff",  # in the year 10889
        "none",
    ],
)
def test_what_carries_no_time_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="none of our ids") as caught:
        created_at(text)
    assert caught.value.code == "id"
