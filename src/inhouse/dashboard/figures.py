"""Numbers and times as the pages write them: "22,389", "68.1 %", "1,638 ms", "4.2 MB", and an en
dash for what was not measured. Filters of the templates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup, escape

NOT_MEASURED: Final = "–"
_MINUS: Final = "\N{MINUS SIGN}"
_MS_UNTIL_S: Final = 10
_BYTES: Final = ("B", "kB", "MB", "GB", "TB")


def number(value: float | None, digits: int = 0) -> str:
    """With separators and so many digits after the point: 22,389 or 0.83."""
    if value is None:
        return NOT_MEASURED
    text = f"{value:,.{digits}f}"
    return text.replace("-", _MINUS) if float(text.replace(",", "")) else text.lstrip("-")


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1]: 68.1 %."""
    return NOT_MEASURED if share is None else f"{number(share * 100, digits)} %"


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """0.80 to 0.86."""
    if low is None or high is None:
        return NOT_MEASURED
    return f"{number(low, digits)} to {number(high, digits)}"


def duration(seconds: float | None) -> str:
    """1,638 ms under 10 s, then 42 s, 3 min 20 s, 5 h 10 min, 3 d 4 h."""
    if seconds is None:
        return NOT_MEASURED
    if seconds < _MS_UNTIL_S:
        ms = seconds * 1000
        return f"{number(ms, 0 if ms >= _MS_UNTIL_S else 1)} ms"
    whole = round(seconds)
    for size, name, part, below in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            return _two(whole // size, name, whole % size // part, below)
    return _two(whole // 60, "min", whole % 60, "s") if whole >= 60 else f"{whole} s"


def size(count: float | None) -> str:
    """4.2 MB; 1 kB is 1,000 bytes."""
    if count is None:
        return NOT_MEASURED
    for unit in _BYTES[:-1]:
        if abs(count) < 1000:
            return f"{number(count, 0 if unit == 'B' or abs(count) >= 100 else 1)} {unit}"
        count /= 1000
    return f"{number(count, 1)} {_BYTES[-1]}"


def cost(amount: float | None) -> str:
    """11.26, in the currency of the prices, which nobody declares; four digits under 0.01."""
    if amount is None:
        return NOT_MEASURED
    return number(amount, 4 if 0 < abs(amount) < 0.01 else 2)


def instant(at: datetime | str | None) -> Markup | str:
    """A moment as ``<time>``: UTC, which the script of the pages turns into the reader's zone.

    Takes a time with its zone or its ISO form; a time without a zone is UTC.
    """
    if at is None or at == "":
        return NOT_MEASURED
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    shown = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    written = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}">{}</time>').format(written, shown)


def plural(count: int, one: str, many: str = "") -> str:
    """1 task, 2 tasks."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def lines(text: str) -> Markup:
    """Text with its line breaks kept."""
    return Markup("<br>").join(escape(line) for line in text.splitlines())


def sentence(text: str | Markup) -> Markup:
    """A message as a sentence, with what stands between backticks as code; markup stays markup."""
    whole = text[:1].upper() + text[1:]
    whole = whole if not whole or whole.endswith((".", "?", ":")) else whole + "."
    parts = whole.split("`")
    if len(parts) % 2 == 0:
        return escape(whole)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part
        for index, part in enumerate(parts)
    )


FILTERS: Final = {
    "number": number,
    "percent": percent,
    "duration": duration,
    "size": size,
    "cost": cost,
    "instant": instant,
    "lines": lines,
    "sentence": sentence,
}


def _two(count: int, name: str, rest: int, below: str) -> str:
    return f"{number(count)} {name} {rest} {below}" if rest else f"{number(count)} {name}"
