"""What the pages of interactions show: rows, filters as links, a trace on one time scale. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from inhouse.dashboard.axes import time_axis
from inhouse.dashboard.bars import Bar, BarChart, histogram
from inhouse.dashboard.figures import number, plural
from inhouse.dashboard.frames import Framing
from inhouse.dashboard.tasks_view import as_curl, request_of
from inhouse.dashboard.tasks_view import brief as brief
from inhouse.interactions.entry import InteractionRecord, Status
from inhouse.interactions.erase import is_erased
from inhouse.interactions.filters import FACETS, Facets
from inhouse.monitoring.activity import Activity
from inhouse.monitoring.overview import Period

NAMES: Final = {
    "status": "State",
    "hosting": "Answered by",
    "arm": "Arm",
    "task": "Task",
    "reference": "Model",
    "tag": "Tag",
}
"""What facets are called, in the order in which they stand: short ones first."""
HOSTS: Final = {
    "own": "own",
    "local": "local general",
    "external": "external API",
    "": "nobody",
}
NOTHING: Final = "-"
"""How an address says that a facet is to be empty; no task and no model can be called so."""
_NONE: Final = {"task": "free chats", "reference": "none", "arm": "none"}
_CLIP: Final = 160
_FAILED: Final = 0.01
_SKIPPED: Final = frozenset({"breaker-open", "breaker-silent", "upstream-limit"})
_BADGES: Final = {
    Status.ANSWERED: ("good", "Answered"),
    Status.FLAGGED: ("warn", "Flagged"),
    Status.FAILED: ("failed", "Failed"),
    Status.CANCELLED: ("open", "Cancelled"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Everything that the address of the list says."""

    period: Period = Period.DAY
    facets: Facets = field(default_factory=Facets)
    text: str = ""
    tag: str = ""
    before: str = ""
    until: str = ""
    open: str = ""

    @property
    def narrowed(self) -> bool:
        """Whether anything but the window is set."""
        return bool(self.facets.given() or self.text or self.tag)

    def path(self, **changes: Any) -> str:
        """The address with some of it changed, from the newest call on unless that is said."""
        facets = {name: value or NOTHING for name, value in self.facets.given().items()}
        values = {"window": self.period.value, **facets, "q": self.text, "tag": self.tag, **changes}
        kept = {name: value for name, value in values.items() if value}
        return "/interactions" + (f"?{urlencode(kept)}" if kept else "")

    def here(self, **changes: Any) -> str:
        """The address of the same page of the list, with some of it changed."""
        return self.path(**{"before": self.before, "until": self.until, **changes})


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of a facet: its words, its calls, where it leads, and whether it is set."""

    words: str
    calls: int
    path: str
    chosen: bool
    value: str


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt on the time scale of its call; ``start`` and ``width`` in percent."""

    reference: str
    words: str
    look: str
    start: float
    width: float
    began_ms: float
    latency_ms: float
    ok: bool
    skipped: bool
    message: str


def badge(record: InteractionRecord) -> tuple[str, str]:
    """State and word of a call."""
    if record.status == Status.ANSWERED and record.rescued:
        return "fallback", "Fallback"
    return _BADGES.get(Status(record.status), ("", record.status))


def who(record: InteractionRecord) -> str:
    """own, general or external: the colour of who answered."""
    return {"own": "own", "external": "external"}.get(record.hosting or "", "general")


def input_text(record: InteractionRecord) -> str:
    """What was asked, as text: the last message of a chat, otherwise the text or its JSON."""
    given = record.input
    if is_erased(given):
        return "(erased)"
    if isinstance(given, list) and given and isinstance(given[-1], Mapping):
        given = given[-1].get("content", given)
    return given if isinstance(given, str) else _json(given)


def answer_words(record: InteractionRecord) -> str:
    """The output in a few words."""
    return brief(record.output) if isinstance(record.output, Mapping | None) else "–"


def clip(text: str, most: int = _CLIP) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def choices(filters: Filters, found: Activity) -> dict[str, list[Choice]]:
    """Each facet's values as links that set or lift them; a facet with one open value is left out.
    What is set stays there even when no call has it."""
    shown: dict[str, list[Choice]] = {}
    for name in filter(FACETS.__contains__, NAMES):
        counted = {one.value: one.calls for one in found.facets[name]}
        chosen = filters.facets.given().get(name)
        if chosen is not None:
            counted.setdefault(chosen, 0)
        if len(counted) < 2 and chosen is None:
            continue
        shown[name] = [
            Choice(
                words=facet_words(name, value),
                calls=calls,
                path=filters.path(**{name: "" if value == chosen else value or NOTHING}),
                chosen=value == chosen,
                value=value or NOTHING,
            )
            for value, calls in counted.items()
        ]
    return shown


def tag_choices(filters: Filters, tags: Sequence[Mapping[str, str]], most: int) -> list[Choice]:
    """The most frequent tags as links."""
    counts: dict[str, int] = {}
    for one in tags:
        for name, value in one.items():
            pair = f"{name}={value}"
            counts[pair] = counts.get(pair, 0) + 1
    if filters.tag:
        counts.setdefault(filters.tag, 0)
    ordered = sorted(counts.items(), key=lambda one: (one[0] != filters.tag, -one[1], one[0]))
    return [
        Choice(
            words=pair,
            calls=calls,
            path=filters.path(tag="" if pair == filters.tag else pair),
            chosen=pair == filters.tag,
            value=pair,
        )
        for pair, calls in ordered[:most]
    ]


def facet_words(name: str, value: str) -> str:
    """A value of a facet in words."""
    if name == "hosting":
        return HOSTS.get(value, value)
    return value or _NONE.get(name, "none")


def calls_over_time(found: Activity, json_path: str) -> BarChart:
    """Calls by hour or day; red where more than 1 % got no answer."""
    by_day = len(found.slots) > 1 and (found.slots[1].start - found.slots[0].start).days >= 1
    step = "day" if by_day else "hour"
    bars = [
        Bar(
            name=f"{slot.start:%Y-%m-%d}" if by_day else f"{slot.start:%Y-%m-%d %H:00}",
            value=float(slot.calls),
            text=f"{number(slot.calls)}, {number(slot.failed)} without an answer",
            look="bad" if slot.failed > _FAILED * slot.calls else "general",
        )
        for slot in found.slots
    ]
    most = max((slot.calls for slot in found.slots), default=0)
    framing = Framing(
        title=f"Calls per {step} (UTC)",
        unit="red: more than 1 % without an answer",
        finding=f"{plural(found.calls, 'call')}, at most {number(most)} in one {step}, "
        f"{number(found.failed)} without an answer",
        json=json_path,
        height=120,
        x_name=step.capitalize(),
    )
    ends = (found.slots[0].start.timestamp(), found.slots[-1].start.timestamp())
    return histogram(framing, bars, across=time_axis(*ends, most=5))


def tries(record: InteractionRecord) -> list[Try]:
    """The attempts one after the other, on the scale of the whole call."""
    attempts: Sequence[Mapping[str, Any]] = record.attempts or ()
    total = max(record.latency_ms, sum(one["latency_ms"] for one in attempts)) or 1.0
    began, found = 0.0, []
    for one in attempts:
        took, skipped = one["latency_ms"], one["code"] in _SKIPPED
        found.append(
            Try(
                reference=one["reference"],
                words=_try_words(one, skipped=skipped),
                look=who(record) if one["ok"] else "fail",
                start=round(100 * began / total, 2),
                width=round(max(100 * took / total, 0.5), 2),
                began_ms=began,
                latency_ms=took,
                ok=one["ok"],
                skipped=skipped,
                message=one.get("message", ""),
            )
        )
        began += took
    return found


def ranked(probabilities: Mapping[str, float] | None, most: int = 12) -> list[tuple[str, float]]:
    """Probabilities, highest first."""
    return sorted((probabilities or {}).items(), key=lambda one: -one[1])[:most]


def curl(record: InteractionRecord, base_url: str, *, with_key: bool) -> str:
    """The call as a command for a shell: the task's, or the chat with the same messages."""
    if record.task is not None and isinstance(record.input, str):
        return as_curl(base_url, record.task, request_of(record.input), with_key=with_key)
    model = f"task:{record.task}" if record.task is not None else record.reference or ""
    body = {"model": model, "messages": record.input}
    if not isinstance(record.input, list) or not model:
        return ""
    lines = [f"curl {shlex.quote(f'{base_url}/v1/chat/completions')}"]
    if with_key:
        lines.append('-H "authorization: Bearer $INHOUSE_KEY"')
    lines.append("-H 'content-type: application/json'")
    lines.append("-d " + shlex.quote(json.dumps(body, ensure_ascii=False)))
    return " \\\n  ".join(lines)


def sentence(found: Activity, filters: Filters, window: str) -> str:
    """How many calls there are, and how many of them failed."""
    which = " that match" if filters.facets.given() else ""
    if not found.calls:
        return f"No call{which} in the last {window}."
    failed = f", {number(found.failed)} without an answer" if found.failed else ", all answered"
    return f"{plural(found.calls, 'call')}{which} in the last {window}{failed}."


def _try_words(attempt: Mapping[str, Any], *, skipped: bool) -> str:
    if attempt["ok"]:
        return "answered"
    return f"skipped: {attempt['code']}" if skipped else f"failed: {attempt['code']}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
