"""A regular expression as the steps that match one after another. Pure.

Choices are told as all of their alternatives, one after another, and short repeats of something
varying are written out: what is said of a text's worst case stays true, or is too pessimistic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

MANY: Final = 16
MOST: Final = 1000
_ASCII: Final = 128
_KINDS: Final = ("\u0663", "\u00e9", "\u2003", "\u2014")
"""Of characters that are not ASCII, one for each kind: a digit, a letter, a space, any other."""
_SAMPLES: Final = (*map(chr, range(_ASCII)), *_KINDS)
_EVERY: Final = (1 << len(_SAMPLES)) - 1
_OTHERS: Final = _EVERY & ~((1 << _ASCII) - 1)
_CATEGORIES: Final = {
    "CATEGORY_DIGIT": r"\d", "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s", "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w", "CATEGORY_NOT_WORD": r"\W",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """``chars``: what it can match, a bit for each ASCII character and for each kind of others.
    ``ways``: how many lengths (or alternatives) it has. ``can_fail``: whether it asks for something
    of the text. ``guards``: a repeat of nothing but the characters in one of these can begin (or
    end) at few places only, thanks to this step beside it."""

    chars: int = 0
    ways: int = 1
    can_fail: bool = False
    guards: tuple[int, ...] = ()


def alternatives(tree: Any) -> Iterator[Any]:
    """The expressions of which the whole one is a choice."""
    if len(tree) == 1:
        operation, argument = tree[0]
        if operation is _parser.BRANCH:
            for one in argument[1]:
                yield from alternatives(one)
            return
    yield tree


def steps_of(tree: Any, flags: int) -> list[Step]:
    """The steps of an expression in which nothing varying is repeated more than ``MANY`` times; not
    all of them when they are more than ``MOST``."""
    steps: list[Step] = []
    for operation, argument in tree:
        steps += _step(operation, argument, flags)
    return steps[: MOST + 1]


def repeat_of(operation: Any, argument: Any) -> tuple[int, int, Any] | None:
    """Least, most, and what is repeated; None for what is no repeat."""
    if str(operation) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        low, high, inner = argument
        return int(low), int(high), inner
    return None


def _step(operation: Any, argument: Any, flags: int) -> Iterable[Step]:
    repeats = repeat_of(operation, argument)
    if repeats is not None:
        return _repeated(*repeats, flags)
    match str(operation):
        case "LITERAL" | "NOT_LITERAL" | "IN" | "ANY":
            return [_one(_chars(operation, argument, flags))]
        case "SUBPATTERN":
            _, added, _, inner = argument
            return steps_of(inner, flags | added)
        case "ATOMIC_GROUP":
            return steps_of(argument, flags)
        case "BRANCH":
            return _choice([steps_of(one, flags) for one in argument[1]])
        case "GROUPREF_EXISTS":
            return _choice([steps_of(one, flags) if one else [] for one in argument[1:]])
        case "ASSERT" | "ASSERT_NOT" as name:
            return _assertion(name, argument[0], steps_of(argument[1], flags))
        case "AT":
            return [_place(str(argument), flags)]
        case _:
            return [Step(_EVERY, can_fail=True)]


def _one(chars: int) -> Step:
    return Step(chars, can_fail=True, guards=(_EVERY & ~chars,))


def _repeated(low: int, high: int, inner: Any, flags: int) -> list[Step]:
    steps = steps_of(inner, flags)
    if all(step.ways == 1 for step in steps):
        whole = _one(_union(steps)) if low and any(step.can_fail for step in steps) else Step()
        return [replace(whole, chars=_union(steps), ways=high - low + 1)]
    return [*steps * min(low, MANY), *_optional(steps * (min(high, MANY) - min(low, MANY)))]


def _choice(choices: list[list[Step]]) -> list[Step]:
    chars = _union(chain.from_iterable(choices))
    asks = all(any(step.can_fail for step in steps) for steps in choices)
    whole = _one(chars) if asks else Step(chars)
    within = chain.from_iterable(_varying(steps) for steps in choices)
    return [replace(whole, ways=len(choices)), *within]


def _varying(steps: list[Step]) -> list[Step]:
    """What varies of an alternative, and that something follows it."""
    first = next((at for at, step in enumerate(steps) if step.ways > 1), len(steps))
    varying = _optional(step for step in steps if step.ways > 1)
    is_followed = any(step.can_fail for step in steps[first + 1 :])
    return [*varying, Step(can_fail=True)] if is_followed else varying


def _assertion(name: str, direction: int, steps: list[Step]) -> list[Step]:
    if direction > 0 or not steps:
        return [*_optional(steps), Step(can_fail=True)]
    guards = [_EVERY & ~steps[-1].chars] if name == "ASSERT" else []
    if name == "ASSERT_NOT" and len(steps) == 1:
        guards = [steps[0].chars]
    return [Step(can_fail=True, guards=tuple(guards))]


def _place(name: str, flags: int) -> Step:
    if name in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
        every_line = name == "AT_BEGINNING" and flags & re.MULTILINE
        guard = _EVERY & ~(1 << ord("\n")) if every_line else _EVERY
        return Step(can_fail=True, guards=(guard,))
    word = _category("CATEGORY_WORD", flags & re.ASCII)
    guards = (word, _EVERY & ~word) if name == "AT_BOUNDARY" else ()
    return Step(can_fail=True, guards=guards)


def _optional(steps: Iterable[Step]) -> list[Step]:
    return [replace(step, can_fail=False, guards=()) for step in steps]


def _union(steps: Iterable[Step]) -> int:
    chars = 0
    for step in steps:
        chars |= step.chars
    return chars


def _chars(operation: Any, argument: Any, flags: int) -> int:
    match str(operation):
        case "LITERAL":
            return _folded(_range(argument, argument), flags)
        case "NOT_LITERAL":
            return _negated([(_parser.LITERAL, argument)], flags)
        case "RANGE":
            return _folded(_range(*argument), flags)
        case "CATEGORY":
            return _category(str(argument), flags & re.ASCII)
        case "IN":
            if str(argument[0][0]) == "NEGATE":
                return _negated(argument[1:], flags)
            return _any_of(argument, flags)
        case _:
            return _EVERY if flags & re.DOTALL else _EVERY & ~(1 << ord("\n"))


def _any_of(members: Iterable[Any], flags: int) -> int:
    chars = 0
    for operation, argument in members:
        chars |= _chars(operation, argument, flags)
    return chars


def _negated(members: Sequence[Any], flags: int) -> int:
    """Of a kind of other characters only a category takes all."""
    kinds = [one for one in members if one[0] is _parser.CATEGORY]
    return _EVERY & ~_any_of(members, flags) | _OTHERS & ~_any_of(kinds, flags)


def _range(low: int, high: int) -> int:
    chars = (1 << min(high + 1, _ASCII)) - (1 << min(low, _ASCII))
    return chars | _OTHERS if high >= _ASCII else chars


def _folded(chars: int, flags: int) -> int:
    if flags & re.IGNORECASE:
        for letter in range(ord("a"), ord("z") + 1):
            both = 1 << letter | 1 << letter - 32
            if chars & both:
                chars |= both
    return chars


@cache
def _category(name: str, flags: int) -> int:
    matches = re.compile(_CATEGORIES[name], flags).match
    return sum(1 << number for number, sample in enumerate(_SAMPLES) if matches(sample))
