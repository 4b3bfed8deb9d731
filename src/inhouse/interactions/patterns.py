"""Regular expressions of an operator, refused where they could run for ever. Pure.

Python's engine backtracks: an expression with a repeat inside a repeat, such as ``(a+)+``, takes
exponential time on a text that nearly matches. Such forms are refused by their structure, before
they meet a text.
"""

from __future__ import annotations

import re
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

from inhouse.core.errors import Invalid

_MANY: Final = 16
_LONGEST: Final = 500
_MOST_OPEN: Final = 3


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
    if _count_open(tree) > _MOST_OPEN:
        raise _refused(name, f"has more than {_MOST_OPEN} repeats without a bound")
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
        repeats = _repeat_of(operation, argument)
        if repeats is not None:
            low, high, inner = repeats
            if within and low != high:
                return True
            if _is_nested(inner, within=within or high > _MANY):
                return True
        elif operation is _parser.BRANCH:
            if within or any(_is_nested(one, within=within) for one in argument[1]):
                return True
        elif any(_is_nested(one, within=within) for one in _parts(argument)):
            return True
    return False


def _count_open(tree: Any) -> int:
    count = 0
    for operation, argument in tree:
        repeats = _repeat_of(operation, argument)
        if repeats is not None:
            count += (repeats[1] > _MANY * 64) + _count_open(repeats[2])
        elif operation is _parser.BRANCH:
            count += max(_count_open(one) for one in argument[1])
        else:
            count += sum(_count_open(one) for one in _parts(argument))
    return count


def _repeat_of(operation: Any, argument: Any) -> tuple[int, int, Any] | None:
    if str(operation) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        low, high, inner = argument
        return int(low), int(high), inner
    return None


def _parts(argument: Any) -> list[Any]:
    """The expressions inside a group, an assertion or a condition."""
    if isinstance(argument, _parser.SubPattern):
        return [argument]
    if isinstance(argument, tuple):
        return [one for one in argument if isinstance(one, _parser.SubPattern)]
    return []
