"""The ends of simulated rollouts as a picture: one bar per truth and rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from typing import Final

from inhouse.rollout.report import Summary

_WIDTH: Final = 920
_LEFT: Final = 285
_BAR: Final = 430
_ROW: Final = 24
_HEAD: Final = 34
_TOP: Final = 62
_KINDS: Final = (("promoted", "good"), ("held", "held"), ("rolled back", "bad"))
_STYLE: Final = """  <style>
    text { fill: #1d2733; font-size: 13px }
    .truth { font-weight: 600; font-size: 14px }
    .small { fill: #4a5a6a; font-size: 12.5px }
    .in { font-size: 12px; text-anchor: middle }
    .good { fill: #9fd3b6 } .held { fill: #d8dee5 } .bad { fill: #eeb9a4 }
  </style>"""


def svg(summaries: Iterable[Summary]) -> str:
    """An SVG document. Rules of one truth must follow each other."""
    groups = [(truth, list(rows)) for truth, rows in groupby(summaries, key=lambda s: s.truth)]
    height = _TOP + sum(_HEAD + _ROW * len(rows) for _, rows in groups) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="system-ui, sans-serif" role="img" aria-labelledby="t d">',
        '  <title id="t">How simulated rollouts end</title>',
        f'  <desc id="d">{escape(_words(groups))}</desc>',
        _STYLE,
        f'  <rect width="{_WIDTH}" height="{height}" rx="10" fill="#f7f9fb"/>',
        *_legend(),
    ]
    top = _TOP
    for truth, rows in groups:
        parts.append(f'  <text class="truth" x="20" y="{top + 20}">{escape(truth)}</text>')
        top += _HEAD
        for row in rows:
            parts += _bar(row, top)
            top += _ROW
    return "\n".join([*parts, "</svg>", ""])


def _legend() -> list[str]:
    parts, left = [], _LEFT
    for word, kind in _KINDS:
        parts.append(f'  <rect class="{kind}" x="{left}" y="20" width="14" height="14"/>')
        parts.append(f'  <text x="{left + 20}" y="32">{word}</text>')
        left += 120
    place = _LEFT + _BAR + 14
    parts.append(f'  <text class="small" x="{place}" y="32">requests until then, median</text>')
    return parts


def _bar(row: Summary, top: int) -> list[str]:
    parts = [f'  <text class="small" x="20" y="{top + 15}">{escape(row.rule)}</text>']
    left = float(_LEFT)
    for count, (word, kind) in zip(_counts(row), _KINDS, strict=True):
        if not count:
            continue
        width = _BAR * row.share(count)
        parts.append(
            f'  <rect class="{kind}" x="{left:.1f}" y="{top}" width="{width:.1f}" height="19">'
            f"<title>{word}: {row.share(count):.1%}</title></rect>"
        )
        if width > 46:
            place = left + width / 2
            words = f"{100 * row.share(count):.1f} %"
            parts.append(f'  <text class="in" x="{place:.1f}" y="{top + 14}">{words}</text>')
        left += width
    parts.append(
        f'  <text class="small" x="{_LEFT + _BAR + 14}" y="{top + 15}">{row.requests:,.0f}</text>'
    )
    return parts


def _counts(row: Summary) -> tuple[int, int, int]:
    return row.promoted, row.held, row.rolled_back


def _words(groups: Sequence[tuple[str, list[Summary]]]) -> str:
    rows = [row for _, found in groups for row in found]
    return " ".join(
        f"{row.truth}, {row.rule}: promoted {row.share(row.promoted):.1%}, "
        f"rolled back {row.share(row.rolled_back):.1%}."
        for row in rows
    )
