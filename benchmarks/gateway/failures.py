"""A primary that is dead (500) or hangs, behind it a healthy one: what leaks, and who notices."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from benchmarks.gateway import load
from benchmarks.gateway.figures import quantiles_ms
from benchmarks.gateway.load import Sample
from benchmarks.gateway.scenarios import Sizes, numbers, warm_up
from benchmarks.gateway.targets import Bench, Target

RATE: Final = 20.0
_PROMPT_BYTES: Final = 1024


def failing(bench: Bench, sizes: Sizes) -> dict[str, Any]:
    """All targets at once, 20 requests a second each for either fault. By target and fault."""
    bench.processes.resume()
    asked = [
        (target, broken, model)
        for target in bench.targets.values()
        for broken, model in target.failing.items()
    ]
    for target in {target.name: target for target, _, _ in asked}.values():
        warm_up(target.asking)
    before = bench.upstream.hits()
    with ThreadPoolExecutor(max(1, len(asked))) as pool:
        samples = list(pool.map(lambda one: _ask(one[0], one[2], sizes), asked))
    after = bench.upstream.hits()
    found: dict[str, Any] = {}
    for (target, broken, _), sample in zip(asked, samples, strict=True):
        hits = after.get(broken, 0) - before.get(broken, 0)
        found.setdefault(target.name, {})[broken.partition("-")[0]] = _figures(sample, hits)
    return found


def _ask(target: Target, model: str, sizes: Sizes) -> Sample:
    asking = replace(target.asked_for(model), prompt_bytes=_PROMPT_BYTES)
    return load.open_loop(asking, numbers, rate=RATE, seconds=sizes.failing / RATE)


def _figures(sample: Sample, hits: int) -> Mapping[str, Any]:
    return {
        "requests": sample.asked,
        "tries_at_the_broken_one": hits,
        "tries_share": round(hits / max(1, sample.asked), 4),
        "client_errors": sample.errors.total(),
        "errors": dict(sample.errors),
        **quantiles_ms(sample.latencies),
        "longest_ms": round(max(sample.latencies, default=0.0) * 1e3, 1),
    }
