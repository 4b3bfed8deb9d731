"""The independence report as Markdown, and as one HTML file that needs nothing else. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import jinja2

from inhouse.monitoring.document import Document, Past
from inhouse.monitoring.independence import DEPENDENCE, DEPLOYMENT, PARITY
from inhouse.monitoring.report import Parity, TaskLine
from inhouse.monitoring.savings import BASES, Saving

_DASH: Final = "–"
_MINUS: Final = "\N{MINUS SIGN}"
_SIDE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The score over time in a square of 1,000 by 1,000: lines and the areas below them; ``dots``
    are days without a neighbour; ``ticks`` are (per cent from the left, text)."""

    lines: tuple[str, ...]
    areas: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]
    end: tuple[float, float]
    ticks: tuple[tuple[float, str], ...]
    words: str


def as_html(document: Document) -> str:
    """One file with its style and its pictures; light, dark and printed."""
    return _environment.get_template("independence.html").render(**_context(document))


def as_markdown(document: Document) -> str:
    """The same in words and tables."""
    return _environment.get_template("independence.md").render(**_context(document))


def chart_of(past: Sequence[Past]) -> Chart | None:
    """The score over time; None with fewer than two days that have one."""
    known = [(one.at, one.score) for one in past if one.score is not None]
    if len(known) < 2:
        return None
    begin, end = past[0].at, past[-1].at
    length = (end - begin).total_seconds()

    def x(one: Past) -> float:
        return _SIDE * (one.at - begin).total_seconds() / length

    runs = [
        [(x(one), _SIDE - 10 * (one.score or 0.0)) for one in run]
        for has, run in groupby(past, key=lambda one: one.score is not None)
        if has
    ]
    long = [run for run in runs if len(run) > 1]
    lines = ["M" + " L".join(f"{a:.1f} {b:.1f}" for a, b in run) for run in long]
    floor = [f" L{run[-1][0]:.1f} {_SIDE} L{run[0][0]:.1f} {_SIDE} Z" for run in long]
    step = max(1, (len(past) - 1) // 5)
    ticks = [(x(one) / 10, f"{one.at:%-d %b}") for one in past[:-1:step]]
    first, last = known[0], known[-1]
    return Chart(
        lines=tuple(lines),
        areas=tuple(line + below for line, below in zip(lines, floor, strict=True)),
        dots=tuple((run[0][0] / 10, run[0][1] / 10) for run in runs if len(run) == 1),
        end=(runs[-1][-1][0] / 10, runs[-1][-1][1] / 10),
        ticks=tuple(tick for tick in ticks if tick[0] < 94),
        words=f"{first[1]:.0f} on {first[0]:%-d %B}, {last[1]:.0f} on {last[0]:%-d %B}",
    )


def _context(document: Document) -> dict[str, Any]:
    report = document.report
    saved = {one.task: one for one in document.savings.tasks}
    answered = sum(line.own + line.local + line.external for line in report.tasks)
    own = sum(line.own for line in report.tasks)
    return {
        "d": document,
        "report": report,
        "parts": _parts(document),
        "chart": chart_of(document.past),
        "answered": answered,
        "own": own,
        "unanswered": sum(line.unanswered for line in report.tasks),
        "cost": sum(document.costs.values()),
        "rows": [_row(line, document.costs, saved.get(line.task)) for line in report.tasks],
        "best": max((way.points for way in document.ways), default=0.0),
        "unpriced": [one for one in document.savings.tasks if one.saved is None],
        "basis": BASES,
    }


def _parts(document: Document) -> list[tuple[str, float, float, str]]:
    """Name, points, most points, and what they are for."""
    parts = document.report.parts
    if parts is None:
        return []
    dependence = f"external interfaces answer {_percent(parts.external_share)} of all calls, "
    dependence += f"general models on own machines {_percent(parts.local_share)}"
    parity = f"certified as good as the general model: {_percent(parts.parity_share)} of the tasks"
    deployed = f"own models answer {parts.deployed_percent:.0f} % of a task’s calls on average"
    return [
        ("Deployment", parts.deployment_points, DEPLOYMENT, deployed),
        ("Dependence", parts.dependence_points, DEPENDENCE, dependence),
        ("Parity", parts.parity_points, PARITY, parity),
    ]


def _row(line: TaskLine, costs: Any, saving: Saving | None) -> dict[str, Any]:
    total = line.own + line.local + line.external + line.unanswered
    hosts = ("own", "local", "external", "unanswered")
    calls = {host: getattr(line, host) for host in hosts}
    return {
        "task": line.task,
        "calls": total,
        "hosts": [(host, 100 * n / total) for host, n in calls.items() if n],
        "told": ", ".join(f"{host} {_percent(n / total)}" for host, n in calls.items() if n),
        "own_percent": line.own_percent,
        "version": line.own_version or _DASH,
        "parity": _parity(line.parity, line.own_version),
        "is_certified": line.parity is not None and line.parity.certified,
        "cost": costs.get(line.task, 0.0),
        "saving": saving,
    }


def _parity(parity: Parity | None, version: str | None) -> str:
    if version is None:
        return "no own model answers"
    if parity is None:
        return "never compared"
    about = f", {parity.general_about}" if parity.general_about else ""
    gap = f"{_signed(parity.difference)} [{_signed(parity.low)}, {_signed(parity.high)}]"
    word = "as good as" if parity.certified else f"{parity.verdict} against"
    return f"{word} {parity.general}{about}: {gap}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", _MINUS)


def _number(value: float | None, digits: int = 0) -> str:
    if value is None:
        return _DASH
    return f"{value:,.{digits}f}".replace("-", _MINUS)


def _money(value: float | None) -> str:
    """Two digits, or as many as show something of a small sum."""
    if value is None:
        return "not known"
    digits = 2 if value == 0 or abs(value) >= 0.1 else 4 if abs(value) >= 0.001 else 6
    return f"{value:,.{digits}f}".replace("-", _MINUS)


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


_environment: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=jinja2.select_autoescape(["html"]),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
    keep_trailing_newline=True,
)
_environment.filters.update(number=_number, money=_money, cell=_cell)
