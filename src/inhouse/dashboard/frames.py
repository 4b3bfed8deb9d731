"""What every chart has: a title, a finding, its numbers as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from inhouse.dashboard.axes import is_whole
from inhouse.dashboard.figures import number


@dataclass(frozen=True, slots=True)
class Framing:
    """The words of a chart, as its caller gives them."""

    title: str
    unit: str
    finding: str
    json: str = ""
    height: int = 200
    digits: int = 2
    x_name: str = ""
    """First column of the table of numbers."""
    named: Callable[[float], str] | None = field(default=None, compare=False)
    """Writes an x in that table."""
    written: Callable[[float], str] | None = field(default=None, compare=False)
    """Writes a value, where ``digits`` do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What every chart has: ``title``, ``unit`` (with the definition), the ``finding`` in one
    sentence, the numbers as a table, and the address of the JSON route that has them too."""

    title: str
    unit: str
    finding: str
    json: str = ""
    height: int = 200
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def named(framing: Framing, x: float) -> str:
    """An x in the table of numbers."""
    return framing.named(x) if framing.named else number(x, 0 if is_whole(x) else 2)


def written(framing: Framing, value: float) -> str:
    """A value, in the table of numbers and beside the end of a line."""
    return framing.written(value) if framing.written else number(value, framing.digits)


def frame_of(
    framing: Framing,
    heads: tuple[str, ...],
    rows: tuple[tuple[str, ...], ...],
    *,
    height: int | None = None,
) -> Frame:
    """The frame of a chart with its table."""
    return Frame(
        title=framing.title,
        unit=framing.unit,
        finding=framing.finding,
        json=framing.json,
        height=framing.height if height is None else height,
        heads=heads,
        rows=rows,
    )
