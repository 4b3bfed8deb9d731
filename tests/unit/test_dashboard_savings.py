"""What the overview says of the cost that own models saved."""

from __future__ import annotations

import pytest

from inhouse.dashboard import overview_view as view
from inhouse.monitoring.savings import BASES, Basis, Saving, Savings


def saving(per_call: float | None, *, calls: int = 10, cost: float = 0.0) -> Saving:
    basis = Basis.UNKNOWN if per_call is None else Basis.RECORDED
    return Saving(
        task="mood", calls=calls, cost=cost, upstream="up/large", basis=basis, per_call=per_call
    )


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ((), ""),
        ((saving(0.5),), "own models saved 5.00"),
        ((saving(0.5), saving(0.25)), "own models saved 7.50"),
        ((saving(0.0),), "own models saved 0.00"),
        ((saving(0.1, cost=3.0),), "own models cost 2.00 more than upstreams"),
        ((saving(None),), "what own models saved is not known"),
        ((saving(0.5), saving(None)), "own models saved 5.00, known of 1 of 2 tasks"),
    ],
)
def test_what_was_saved_in_all(tasks: tuple[Saving, ...], words: str) -> None:
    assert view.saved(Savings(tasks=tasks)) == words


def test_every_origin_of_a_price_has_words() -> None:
    assert set(BASES) == set(Basis)
