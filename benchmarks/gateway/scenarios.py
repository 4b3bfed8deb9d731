"""Closed loop, open loop and streams: every target in turn, again and again, all in one run."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks.gateway import load
from benchmarks.gateway.figures import Figures, Repetitions, Summary, quantile_ms, quantiles_ms
from benchmarks.gateway.load import Sample
from benchmarks.gateway.targets import Bench, Table, Target
from benchmarks.gateway.texts import Asking

DIRECT: Final = "direct"
CONNECTIONS: Final = (1, 16)
OPEN_RATE: Final = 100.0
STREAMS_AT_ONCE: Final = 4
_MOST: Final = 1_000_000
_WARM: Final = 50
_WARM_S: Final = 2.0
_SETTLE_S: Final = 5.0
_RISK_S: Final = 0.1
"""Longer than ``fast`` keeps a row."""
numbers: Final = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured. ``most`` bounds the requests of one closed loop."""

    repetitions: int
    closed_s: float
    open_repetitions: int
    open_s: float
    stream_repetitions: int
    stream_s: float
    failing: int
    starts: int
    growth: int
    encoder_s: float
    most: int = _MOST


class Checks:
    """Rows that an own gateway recorded beside the requests counted at the mock."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def compare(
        self, what: str, bench: Bench, target: Target, measure: Callable[[], list[Sample]]
    ) -> list[Sample]:
        """Do everything that asks the target, and compare how far both counts went on."""
        if target.recorded is None:
            return measure()
        rows, hits = target.recorded()[0], bench.upstream.answered()
        samples = measure()
        counted = bench.upstream.answered() - hits
        recorded = _settled(target.recorded, rows + counted) - rows
        asked = sum(sample.asked for sample in samples)
        self.found.append(
            {
                "scenario": what,
                "target": target.name,
                "requests": asked,
                "requests_at_the_mock": counted,
                "rows": recorded,
                "equal": recorded == counted == asked,
            }
        )
        return samples


def _settled(recorded: Table, wanted: int) -> int:
    """Rows recorded, once they are as many as wanted or time is up, and no more come."""
    end = time.monotonic() + _SETTLE_S
    while recorded()[0] < wanted and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(_RISK_S)
    return recorded()[0]


def closed(bench: Bench, sizes: Sizes, checks: Checks) -> dict[str, dict[str, Summary]]:
    """Each connection asks again as soon as it is answered. By target and ``c=N``."""
    found: dict[str, dict[str, Summary]] = {}
    for connections in CONNECTIONS:
        repeated = Repetitions()
        name = f"c={connections}"
        for target in _rounds(bench, sizes.repetitions):

            def ask(target: Target = target, connections: int = connections) -> Sample:
                return load.closed(
                    target.asking,
                    numbers,
                    connections=connections,
                    seconds=sizes.closed_s,
                    most=sizes.most,
                )

            figures, sample = _costs(bench, target, f"closed {name}", ask, checks)
            speed = {"requests_per_s": len(sample.latencies) / sample.seconds}
            repeated.add(
                target.name, {**quantiles_ms(sample.latencies), **speed, **figures}, sample.errors
            )
        for target_name, summary in repeated.summary().items():
            found.setdefault(target_name, {})[name] = summary
    return found


def open_loop(bench: Bench, sizes: Sizes, checks: Checks) -> dict[str, Summary]:
    """100 requests a second, whatever the answers do; latency from the scheduled time."""
    repeated = Repetitions()
    for target in _rounds(bench, sizes.open_repetitions):

        def ask(target: Target = target) -> Sample:
            return load.open_loop(target.asking, numbers, rate=OPEN_RATE, seconds=sizes.open_s)

        figures, sample = _costs(bench, target, "open 100/s", ask, checks)
        late = {"sent_late_p99_ms": quantile_ms(sample.late, 0.99)}
        repeated.add(
            target.name, {**quantiles_ms(sample.latencies), **late, **figures}, sample.errors
        )
    return repeated.summary()


def streams(bench: Bench, sizes: Sizes, checks: Checks) -> dict[str, Summary]:
    """Streams of 16 to 64 chunks with pauses, four at a time; the mock itself is asked too."""
    repeated = Repetitions()
    for target in _rounds(bench, sizes.stream_repetitions, keep=lambda target: target.streams):

        def ask(target: Target = target) -> Sample:
            return load.closed(
                replace(target.asking, stream=True),
                numbers,
                connections=STREAMS_AT_ONCE,
                seconds=sizes.stream_s,
                most=sizes.most,
            )

        figures, sample = _costs(bench, target, "streams", ask, checks)
        own = _stream_figures(sample, figures)
        if target.name != DIRECT:
            direct = repeated.last(DIRECT)
            own |= {
                f"added_{name}": own[name] - direct[name]
                for name in ("first_p50_ms", "first_p99_ms", "total_p50_ms")
            }
        repeated.add(target.name, own, sample.errors)
    return repeated.summary()


def _stream_figures(sample: Sample, figures: Figures) -> Figures:
    streams = max(1, len(sample.latencies))
    return {
        "first_p50_ms": quantile_ms(sample.first, 0.5),
        "first_p99_ms": quantile_ms(sample.first, 0.99),
        "total_p50_ms": quantile_ms(sample.latencies, 0.5),
        "longest_pause_ms": quantile_ms(sample.longest_pause, 1.0),
        "pauses_of_40_ms": sample.stalls,
        "chunks": sample.chunks,
        "identical": sample.identical / streams,
        "same_words": sample.said / streams,
        "cpu_ms_per_chunk": figures["cpu_ms"] * sample.asked / max(1, sample.chunks),
        "rss_mb": figures["rss_mb"],
    }


def _rounds(
    bench: Bench, repetitions: int, keep: Callable[[Target], bool] = lambda target: True
) -> Iterator[Target]:
    """Every target once a round, in an order that turns by one each round; the mock first."""
    targets = [target for target in bench.targets.values() if keep(target)]
    first, others = targets[:1], targets[1:]
    for round_ in range(repetitions):
        turn = round_ % max(1, len(others))
        yield from [*first, *others[turn:], *others[:turn]]


def _costs(
    bench: Bench, target: Target, what: str, ask: Callable[[], Sample], checks: Checks
) -> tuple[Figures, Sample]:
    """Measure one target while all others are held; what a request costs the target."""
    bench.only(target)
    spent = mock = 0.0

    def measure() -> list[Sample]:
        nonlocal spent, mock
        warm = warm_up(target.asking)
        spent, mock = target.process.cpu_seconds(), bench.upstream.process.cpu_seconds()
        sample = ask()
        spent = target.process.cpu_seconds() - spent
        mock = bench.upstream.process.cpu_seconds() - mock
        return [warm, sample]

    sample = checks.compare(what, bench, target, measure)[-1]
    asked = max(1, sample.asked)
    figures = {
        "cpu_ms": spent / asked * 1e3,
        "rss_mb": target.process.rss_mb(),
        "requests": sample.asked,
        "load_cpu_ms": sample.cpu_seconds / asked * 1e3,
        "mock_cpu_ms": mock / asked * 1e3,
    }
    return figures, sample


def warm_up(asking: Asking) -> Sample:
    """A few requests that are not timed: connections, code that is loaded on first use."""
    return load.closed(asking, numbers, connections=4, seconds=_WARM_S, most=_WARM)
