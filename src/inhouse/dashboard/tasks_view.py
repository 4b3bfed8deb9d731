"""What the pages of tasks show: outputs marked up, calls as commands, routes as shares. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.registry.routes import FULL, Route
from inhouse.tasks.spec import TaskKind, TaskSpec

READY = {
    "ok": ("good", "Ok"),
    "not yet": ("held", "Not yet"),
    "unknown": ("waiting", "Not known"),
}
"""The badge of each state of readiness: its shape and its word."""
TONES = 6
"""How many colours of entities there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of a text; ``label`` None outside of spans, ``tone`` 1 to 6 inside."""

    text: str
    label: str | None = None
    tone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """A label with its probability, and whether it was the answer."""

    label: str
    probability: float
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What of a task's units goes to a reference, in per cent. ``who``: own or general."""

    reference: str
    percent: float
    who: str
    role: str


def pieces(text: str, spans: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[Piece]:
    """A text cut at its spans. A span that overlaps one before it is left out of the marks."""
    tones = {label: place % TONES + 1 for place, label in enumerate(labels)}
    found, at = [], 0
    for span in sorted(spans, key=lambda span: (span["start"], -span["end"])):
        start, end, label = span["start"], span["end"], str(span["label"])
        if start < at or end > len(text):
            continue
        if start > at:
            found.append(Piece(text=text[at:start]))
        tone = tones.setdefault(label, len(tones) % TONES + 1)
        found.append(Piece(text=text[start:end], label=label, tone=tone))
        at = end
    if at < len(text):
        found.append(Piece(text=text[at:]))
    return found


def chances(
    probabilities: Mapping[str, float] | None, output: Mapping[str, Any] | None
) -> list[Chance]:
    """Probabilities, the highest first."""
    chosen = None if output is None else output.get("label")
    ranked = sorted((probabilities or {}).items(), key=lambda pair: -pair[1])
    return [Chance(label=name, probability=p, chosen=name == chosen) for name, p in ranked]


def pretty(value: Any) -> str:
    """A JSON value for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def brief(value: Mapping[str, Any] | None) -> str:
    """An output in a few words: the label, the number, the spans' count, the text, or its JSON."""
    if value is None:
        return "–"
    match value:
        case {"label": str(label)} if len(value) == 1:
            return label
        case {"value": int() | float() as number} if len(value) == 1:
            return f"{number:.2f}".replace("-", "−")
        case {"text": str(text)} if len(value) == 1:
            return text
        case {"spans": list(spans)} if len(value) == 1:
            named = ", ".join(f"{s.get('text', '')} ({s['label']})" for s in spans)
            return named or "no spans"
        case _:
            return json.dumps(value, ensure_ascii=False)


def request_of(text: str, *, unit: str = "", model: str = "") -> dict[str, str]:
    """The body of a call; what is empty is left out."""
    fields = {"input": text, "unit": unit, "model": model}
    return {name: value for name, value in fields.items() if value}


def as_curl(base_url: str, task: str, request: Mapping[str, str], *, with_key: bool) -> str:
    """The call as a command for a shell."""
    lines = [f"curl {shlex.quote(f'{base_url}/v1/tasks/{task}/run')}"]
    if with_key:
        lines.append('-H "authorization: Bearer $INHOUSE_KEY"')
    lines.append("-H 'content-type: application/json'")
    lines.append("-d " + shlex.quote(json.dumps(request, ensure_ascii=False)))
    return " \\\n  ".join(lines)


def as_python(base_url: str, task: str, request: Mapping[str, str], *, with_key: bool) -> str:
    """The same call by the SDK."""
    named = {name: value for name, value in request.items() if name != "input"}
    arguments = [repr(task), repr(request["input"])]
    arguments += [f"{name}={value!r}" for name, value in named.items()]
    key = ', key=os.environ["INHOUSE_KEY"]' if with_key else ""
    return "\n".join(
        [
            *(["import os", ""] if with_key else []),
            "from inhouse.client.sync import Client",
            "",
            f"with Client({base_url!r}{key}) as client:",
            f"    answer = client.run({', '.join(arguments)})",
            "    print(answer.output, answer.model_version, answer.latency_ms)",
        ]
    )


def shares(route: Route) -> list[Share]:
    """Who answers by the route, the candidate first; one that gets nothing is left out."""
    if route.pin is not None:
        return [Share(reference=route.pin, percent=100.0, who=who(route.pin), role="pinned")]
    candidate = route.weight_bp / FULL * 100
    found = []
    if route.candidate is not None and route.weight_bp:
        name = route.candidate
        found.append(Share(reference=name, percent=candidate, who=who(name), role="candidate"))
    if route.incumbent and route.weight_bp < FULL:
        name = route.incumbent
        rest = 100 - candidate
        found.append(Share(reference=name, percent=rest, who=who(name), role="incumbent"))
    return found


def who(reference: str) -> str:
    """``own`` for a version of ours, ``general`` for any other model."""
    is_own = parse_reference(reference).kind is ReferenceKind.VERSION
    return "own" if is_own else "general"


def sentence(route: Route) -> str:
    """Who answers a task, in one sentence."""
    found = shares(route)
    if not found:
        return "Nobody answers: the chain is empty and no model was put in its place."
    first = found[0]
    if first.role == "pinned":
        return f"Every call is pinned to {first.reference}."
    if len(found) == 1:
        return f"{first.reference} answers every call."
    percent = f"{first.percent:g} %"
    return f"{first.reference} answers {percent} of the units, {found[1].reference} the rest."


def history_of(newest_first: Sequence[Route]) -> list[tuple[Route, str]]:
    """Each revision with what it did."""
    return [(route, sentence(route)) for route in newest_first]


def definition(spec: TaskSpec) -> list[tuple[str, str]]:
    """The task as it is declared, as pairs of a word and a value."""
    found = [("Kind", str(spec.kind)), ("Revision", spec.revision)]
    if spec.labels:
        found.append(("Span types" if spec.kind == "spans" else "Labels", ", ".join(spec.labels)))
    if spec.kind is TaskKind.SCORE:
        found.append(("Range", f"{spec.low:g} to {spec.high:g}".replace("-", "−")))
    if spec.levels:
        levels = ", ".join(f"{name} {value:g}".replace(" -", " −") for name, value in spec.levels)
        found.append(("Levels", levels))
    tokens = f"{spec.max_input_tokens:,} tokens, then {spec.on_long}"
    found += [("Unit", str(spec.unit)), ("Deadline", f"{spec.timeout_s:g} s"), ("Input", tokens)]
    failure = "an error" if spec.on_failure is None else f"{brief(spec.on_failure)}, flagged"
    return [*found, ("When nobody answers", failure)]
