"""Regular expressions of an operator, refused where they could run for ever. Pure.

Python's engine backtracks: an expression with a repeat inside a repeat, such as ``(a+)+``, takes
exponential time on a text that nearly matches. Repeats of the same characters beside each other,
and one that is tried at every place of a text, take the square of its length or more. Such forms
are refused by their structure, before they meet a text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

from inhouse.core.errors import Invalid
from inhouse.interactions.pattern_steps import MANY, MOST, Step, alternatives, repeat_of, steps_of

_LONGEST: Final = 500
_OPEN: Final = 1024
_MOST_WAYS: Final = 10_000


def check_pattern(name: str, text: str) -> re.Pattern[str]:
    """Compile a rule's expression. Raises Invalid (code ``redaction``) that names the rule."""
    if len(text) > _LONGEST:
        raise _refused(name, f"is longer than {_LONGEST} characters")
    try:
        compiled = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise _refused(name, f"is no regular expression: {error}") from None
    if compiled.match(""):
        raise _refused(name, "matches the empty text")
    tree = _parser.parse(text)
    if _is_nested(tree, within=False):
        raise _refused(name, "repeats a repeat or a choice, which can take for ever")
    for one in alternatives(tree):
        steps = steps_of(one, compiled.flags)
        if len(steps) > MOST:
            raise _refused(name, "is too long when its repeats are written out")
        if _is_ambiguous(steps):
            raise _refused(name, "has repeats of the same characters beside each other")
        if _starts_anywhere(steps):
            raise _refused(name, "tries a repeat without a bound at every place of a text")
    return compiled


def _refused(name: str, why: str) -> Invalid:
    return Invalid(
        f"the pattern {name!r} {why}",
        code="redaction",
        hint="write bounds, such as \\d{1,9} for \\d+",
    )


def _is_nested(tree: Any, *, within: bool) -> bool:
    """Whether anything of changing length, or a choice, stands in a repeat of many times."""
    for operation, argument in tree:
        repeats = repeat_of(operation, argument)
        if repeats is not None:
            low, high, inner = repeats
            if within and low != high:
                return True
            if _is_nested(inner, within=within or high > MANY):
                return True
        elif operation is _parser.BRANCH:
            if within or any(_is_nested(one, within=within) for one in argument[1]):
                return True
        elif any(_is_nested(one, within=within) for one in _parts(argument)):
            return True
    return False


def _is_ambiguous(steps: Sequence[Step]) -> bool:
    """Whether steps that can match the same characters, with nothing between them that tells where
    one ends, share a text in too many ways: each way is tried."""
    for start, first in enumerate(steps):
        if first.ways == 1:
            continue
        ways, longest = first.ways, first.ways
        guards: list[int] = []
        for step in steps[start + 1 :]:
            shared = step.ways > 1 and first.chars & step.chars
            if shared and not _is_guarded(first, guards) and not _is_guarded(step, guards):
                ways, longest = ways * step.ways, max(longest, step.ways)
            guards += step.guards
        if ways > longest and (ways > _MOST_WAYS if longest <= _OPEN else ways > MANY * longest):
            return True
    return False


def _starts_anywhere(steps: Sequence[Step]) -> bool:
    """Whether a repeat without a bound begins everywhere in a long run of its characters, and is
    tried again at each of them because something behind it is not there."""
    guards: list[int] = []
    for place, step in enumerate(steps):
        is_followed = any(later.can_fail for later in steps[place + 1 :])
        if step.ways > _OPEN and is_followed and not _is_guarded(step, guards):
            return True
        guards += step.guards
    return False


def _is_guarded(step: Step, guards: Sequence[int]) -> bool:
    return any(step.chars & ~guard == 0 for guard in guards)


def _parts(argument: Any) -> list[Any]:
    """The expressions inside a group, an assertion or a condition."""
    if isinstance(argument, _parser.SubPattern):
        return [argument]
    if isinstance(argument, tuple):
        return [one for one in argument if isinstance(one, _parser.SubPattern)]
    return []
