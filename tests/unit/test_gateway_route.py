"""Assignment: sticky, monotone, honest about what falls back."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from inhouse.gateway.route import Arm, Assignment, assign, draw
from inhouse.registry.routes import Route, implicit

SALTS = st.text(min_size=1, max_size=36)
UNITS = st.text(max_size=64)
WEIGHTS = st.integers(0, 10_000)


def route(weight_bp: int = 0, **changes: object) -> Route:
    base = implicit("mood", ("up/a", "up/b", "up/c"))
    changes = {"candidate": "mood@1", "weight_bp": weight_bp, "salt": "salt", **changes}
    return replace(base, **changes)


def test_incumbent_falls_back_to_the_rest_of_the_chain() -> None:
    assert assign(route(), "u") == Assignment(Arm.INCUMBENT, "up/a", ("up/a", "up/b", "up/c"))


def test_candidate_falls_back_to_incumbent_then_chain() -> None:
    chosen = assign(route(10_000), "u")
    assert chosen == Assignment(Arm.CANDIDATE, "mood@1", ("mood@1", "up/a", "up/b", "up/c"))


def test_an_own_incumbent_outside_the_chain_falls_back_to_it() -> None:
    chosen = assign(route(incumbent="mood@3"), "u")
    assert chosen.chain == ("mood@3", "up/a", "up/b", "up/c")


def test_no_reference_is_tried_twice() -> None:
    twice = route(10_000, incumbent="up/b", chain=("up/b", "mood@1", "up/a", "up/b"))
    assert assign(twice, "u").chain == ("mood@1", "up/b", "up/a")


def test_a_task_without_general_models_has_an_empty_chain() -> None:
    assert assign(implicit("mood", ()), "u").chain == ()


def test_pins_mean_one_reference_and_no_other() -> None:
    pinned = route(5_000, pin="up/c")
    assert assign(pinned, "u") == Assignment(Arm.PINNED, "up/c", ("up/c",))
    assert assign(pinned, "u", pinned="up/b") == Assignment(Arm.PINNED, "up/b", ("up/b",))
    forced = assign(pinned, "u", pinned="up/b", forced="mood@2")
    assert forced == Assignment(Arm.FORCED, "mood@2", ("mood@2",))


@given(SALTS, UNITS, WEIGHTS)
def test_same_unit_same_arm(salt: str, unit: str, weight: int) -> None:
    assert assign(route(weight, salt=salt), unit) == assign(route(weight, salt=salt), unit)


@given(SALTS, UNITS, WEIGHTS, WEIGHTS)
def test_a_higher_weight_moves_units_only_to_the_candidate(
    salt: str, unit: str, one: int, other: int
) -> None:
    low, high = sorted((one, other))
    before, after = (assign(replace(route(w), salt=salt), unit).arm for w in (low, high))
    assert after is Arm.CANDIDATE or before is Arm.INCUMBENT


def test_the_draw_is_the_same_in_every_process() -> None:
    assert draw("salt", "unit") == 9371072144108207466


@given(SALTS, UNITS)
def test_the_ends_are_exact(salt: str, unit: str) -> None:
    assert 0 <= draw(salt, unit) < 2**64
    assert assign(replace(route(0), salt=salt), unit).arm is Arm.INCUMBENT
    assert assign(replace(route(10_000), salt=salt), unit).arm is Arm.CANDIDATE


def test_the_share_is_near_the_weight_and_independent_of_the_last_salt() -> None:
    units = [f"unit-{n}" for n in range(20_000)]
    first = {u for u in units if assign(route(3_000), u).arm is Arm.CANDIDATE}
    again = {u for u in units if assign(replace(route(3_000), salt="x"), u).arm is Arm.CANDIDATE}
    assert abs(len(first) / len(units) - 0.3) < 0.01
    assert abs(len(first & again) / len(first) - 0.3) < 0.02
