"""Cutting a text into tokens that never cross the edge of a span, and putting tokens together."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_ATOM = re.compile(r"\w+|\s+|[^\w\s]")
_CLOSING = {*",.;:!?%)]}", "...", "'s", "'S", "n't", "'re", "'ve", "'ll", "'d", "'m", "''"}
_CLOSING |= {"\u2019s", "n\u2019t", "\u201d", "\u2019", "\u2026"}
_OPENING = {*"([{$", "\u00a3", "\u20ac", "\u201c", "\u2018", "``"}


def cut(text: str, spans: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Where words, single signs and runs of white space begin and end, cut at the spans' edges."""
    edges = sorted({edge for span in spans for edge in (span["start"], span["end"])})
    pieces: list[tuple[int, int]] = []
    for atom in _ATOM.finditer(text):
        start, end = atom.span()
        for edge in edges[bisect_right(edges, start) : bisect_left(edges, end)]:
            pieces.append((start, edge))
            start = edge
        pieces.append((start, end))
    return pieces


def join(words: Iterable[str]) -> tuple[str, list[int]]:
    """A text with the spacing that English has between such tokens, and where each begins."""
    text, starts, quoted, glue = "", [], False, True
    for word in words:
        opens = word in _OPENING or (word == '"' and not quoted)
        closes = word in _CLOSING or (word == '"' and quoted)
        if word == '"':
            quoted = not quoted
        if not glue and not closes:
            text += " "
        starts.append(len(text))
        text += word
        glue = opens
    return text, starts
