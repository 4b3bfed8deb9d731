"""How deep a JSON value is nested. Pure."""

from __future__ import annotations

from typing import Final

DEEPEST: Final = 128
"""Levels of lists and objects that are taken and shown. What goes through a value level by level
fails somewhere beyond, and so does the writer of our answers."""


def is_too_deep(value: object) -> bool:
    """Whether a value has more than ``DEEPEST`` levels. Takes no stack."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        if not level:
            return False
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)
