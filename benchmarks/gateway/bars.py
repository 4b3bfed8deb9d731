"""What the gateway has to reach, and the README's block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Result = Mapping[str, Any]
_OWN: Final = "inhouse-fast"
_DURABLE: Final = "inhouse-durable"
_LITELLM: Final = "litellm"
_TENSORZERO: Final = "tensorzero"


def _of(result: Result, *path: str) -> float | None:
    """A figure by its path; a range by its middle. None when it was not measured."""
    found: Any = result
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return float(found["median"] if isinstance(found, Mapping) else found)


def _times_litellm(result: Result) -> float | None:
    own = _of(result, "closed", _OWN, "c=16", "requests_per_s")
    peer = _of(result, "closed", _LITELLM, "c=16", "requests_per_s")
    return None if own is None or not peer else own / peer


def _times_tensorzero(*path: str) -> Callable[[Result], float | None]:
    def measure(result: Result) -> float | None:
        own = _of(result, "closed", _OWN, *path)
        peer = _of(result, "closed", _TENSORZERO, *path)
        return None if own is None or not peer else own / peer

    return measure


def _errors_when_dead(result: Result) -> float | None:
    return _of(result, "failing", _OWN, "dead", "client_errors")


def _tries_when_hanging(result: Result) -> float | None:
    return _of(result, "failing", _OWN, "hang", "tries_at_the_broken_one")


def _stalls(result: Result) -> float | None:
    """The worst repetition; the middle one would hide a stall."""
    found: Mapping[str, float] = result.get("streams", {}).get(_OWN, {}).get("pauses_of_40_ms", {})
    return found.get("max")


def _unequal(result: Result) -> float | None:
    return sum(not one["equal"] for one in result.get("checks", ())) if "checks" in result else None


def _encoder_errors(result: Result) -> float | None:
    errors = result.get("encoder", {}).get("open 100/s", {}).get("errors")
    return None if errors is None else sum(errors.values())


def _at(*path: str) -> Callable[[Result], float | None]:
    return lambda result: _of(result, *path)


_RATE: Final = "requests_per_s"
_CLOSED_1 = ("closed", _OWN, "c=1")
_CLOSED_16 = ("closed", _OWN, "c=16")
_STREAM = ("streams", _OWN)
_BARS: Final[tuple[tuple[str, str, float, Callable[[Result], float | None]], ...]] = (
    ("CPU ms a request, c=1", "<=", 0.20, _at(*_CLOSED_1, "cpu_ms")),
    ("CPU ms a request, c=16", "<=", 0.12, _at(*_CLOSED_16, "cpu_ms")),
    ("requests/s at c=16, fast", ">=", 8_000, _at(*_CLOSED_16, "requests_per_s")),
    ("requests/s at c=16, durable", ">=", 3_000, _at("closed", _DURABLE, "c=16", "requests_per_s")),
    ("times LiteLLM's requests/s at c=16", ">=", 40, _times_litellm),
    ("p50 ms at c=1", "<=", 0.30, _at(*_CLOSED_1, "p50_ms")),
    ("times TensorZero's CPU, c=1", "<=", 1.08, _times_tensorzero("c=1", "cpu_ms")),
    ("times TensorZero's CPU, c=16", "<=", 1.2, _times_tensorzero("c=16", "cpu_ms")),
    ("times TensorZero's p50, c=1", "<=", 1.15, _times_tensorzero("c=1", "p50_ms")),
    ("times TensorZero's requests/s, c=16", ">=", 0.63, _times_tensorzero("c=16", _RATE)),
    ("p99 ms at 100/s, open loop", "<=", 2.0, _at("open", _OWN, "p99_ms")),
    ("ms added to the first token, p50", "<=", 1.0, _at(*_STREAM, "added_first_p50_ms")),
    ("CPU ms a chunk", "<=", 0.05, _at(*_STREAM, "cpu_ms_per_chunk")),
    ("pauses of 40 ms in streams", "<=", 0, _stalls),
    ("share of streams identical to the mock's", ">=", 1.0, _at(*_STREAM, "identical")),
    ("share of tries at a dead primary", "<=", 0.01, _at("failing", _OWN, "dead", "tries_share")),
    ("client errors with a dead primary", "<=", 0, _errors_when_dead),
    ("tries at a hanging primary", "<=", 5, _tries_when_hanging),
    ("s until ready", "<=", 1.5, _at("starts", _OWN, "ready_s")),
    ("MB held with its pages, without models", "<=", 120, _at("starts", _OWN, "rss_mb")),
    ("growth of memory over the requests", "<=", 0.05, _at("growth", "growth")),
    ("ms p50, own encoder, batch 1", "<=", 3.0, _at("encoder", "closed c=1", "p50_ms")),
    ("errors of the encoder at 10 x the demo's rate", "<=", 0, _encoder_errors),
    ("measurements whose rows are not the mock's count", "<=", 0, _unequal),
)


def bars(result: Result) -> list[dict[str, Any]]:
    """Every bar with the figure beside it; ``met`` is None for what was not measured."""
    found = []
    for what, sign, bar, measure in _BARS:
        value = measure(result)
        met = None if value is None else (value <= bar if sign == "<=" else value >= bar)
        shown = None if value is None else round(value, 4)
        found.append({"what": what, "sign": sign, "bar": bar, "measured": shown, "met": met})
    return found


def block(result: Result) -> str:
    """The README's block: every target beside every other, then the bars that were measured."""
    machine = result["machine"]
    lines = [
        f"One run on {machine['cores']} cores, which also ran the mock and the load, with Python",
        f"{machine['python'].partition(',')[0]};",
        "medians of the repetitions. Prompts of 1-16 kB, answers of 30-300 tokens; ours with key,",
        "10 % split, tags, cost, metrics and every call recorded. The bars in ms and requests/s",
        "were set on an idle machine on which TensorZero took 0.185 ms CPU (c=1), 0.10 ms (c=16),",
        "p50 0.26 ms, 12,636 requests/s; the multiples of TensorZero are the same bars by its side",
        "in this run, which is what a shared machine can show.",
    ]
    if "closed" in result or "open" in result:
        lines += ["", *_loops(result)]
    if "streams" in result:
        lines += ["", *_streams(result)]
    lines += ["", "| what | bar | measured |", "| --- | --- | --- |"]
    lines += [_bar(one) for one in result["bars"] if one["met"] is not None]
    return "\n".join(lines)


def _loops(result: Result) -> list[str]:
    return [
        "| gateway | p50 ms, c=1 | CPU ms, c=1 | req/s, c=16 | CPU ms, c=16 | p99 ms, 100/s | MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_row(result, name) for name in result["targets"]),
    ]


def _row(result: Result, name: str) -> str:
    about = result["targets"][name]
    if "skipped" in about:
        return f"| {name} | not measured: {about['skipped']} | | | | | |"
    cells = [
        _shown(_of(result, "closed", name, "c=1", "p50_ms")),
        _shown(_of(result, "closed", name, "c=1", "cpu_ms"), 3),
        _shown(_of(result, "closed", name, "c=16", "requests_per_s"), 0),
        _shown(_of(result, "closed", name, "c=16", "cpu_ms"), 3),
        _shown(_of(result, "open", name, "p99_ms")),
        _shown(_of(result, "closed", name, "c=16", "rss_mb"), 0),
    ]
    return f"| {about['about']} | {' | '.join(cells)} |"


def _streams(result: Result) -> list[str]:
    lines = [
        "| streams of 16-64 chunks | first token, added p50 / p99 ms | CPU ms a chunk | "
        "pauses of 40 ms | identical |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, found in result.get("streams", {}).items():
        first = "the measure"
        if "added_first_p50_ms" in found:
            added = (found["added_first_p50_ms"]["median"], found["added_first_p99_ms"]["median"])
            first = f"{_shown(added[0])} / {_shown(added[1])}"
        cells = [
            first,
            _shown(found["cpu_ms_per_chunk"]["median"], 3),
            _shown(found["pauses_of_40_ms"]["max"], 0),
            f"{found['identical']['min']:.0%}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _bar(one: Mapping[str, Any]) -> str:
    missed = "" if one["met"] else " **missed**"
    return f"| {one['what']} | {one['sign']} {one['bar']:,g} | {one['measured']:,g}{missed} |"


def _shown(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
