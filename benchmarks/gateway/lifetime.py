"""How long a start takes, how much memory is held after it, and how that grows with requests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.gateway import load, project
from benchmarks.gateway.figures import Summary, summarise
from benchmarks.gateway.load import Sample
from benchmarks.gateway.processes import Processes, free_port
from benchmarks.gateway.project import Prepared
from benchmarks.gateway.scenarios import Checks, Sizes, numbers
from benchmarks.gateway.targets import Bench, Target, Upstream

Starter = Callable[[], Target]
_SLICES: Final = 10
_PROMPT_BYTES: Final = 1024
_CONNECTIONS: Final = 16
_SLOWEST_PER_S: Final = 200


def starts(
    bench: Bench,
    prepared: Prepared,
    starters: Mapping[str, Starter],
    sizes: Sizes,
    folder: Path,
) -> dict[str, Summary]:
    """Seconds from the start of the process to the first answer that says ready, and the memory
    held then; ours is looked at once a page has come, since pages are loaded after that. Everything
    else is held meanwhile; a peer's first start is that of the run."""
    bench.processes.only()
    made = prepared.copy(folder / "starts")
    found = {"inhouse-fast": summarise([_start_own(bench, made) for _ in range(sizes.starts)])}
    for name, start in starters.items():
        repetitions = [_figures(bench.targets[name])]
        for _ in range(sizes.starts - 1):
            target = start()
            repetitions.append(_figures(target))
            bench.processes.stop(target.process)
        found[name] = summarise(repetitions)
    return found


def _figures(target: Target) -> Mapping[str, float]:
    return {"ready_s": target.ready_s, "rss_mb": target.rss_mb}


def _start_own(bench: Bench, made: project.Project) -> Mapping[str, float]:
    port = free_port()
    process = bench.processes.start("starts", made.serve(port), env=project.environment())
    ready = process.wait_ready(port, "/readyz")
    process.wait_ready(port, "/login")
    figures = {"ready_s": ready, "rss_mb": process.rss_mb()}
    bench.processes.stop(process)
    return figures


def growth(
    processes: Processes,
    upstream: Upstream,
    prepared: Prepared,
    sizes: Sizes,
    folder: Path,
    checks: Checks,
) -> Mapping[str, Any]:
    """Resident memory of a fresh gateway before and after many requests, at c=16.

    The first twentieth is asked before the first look, so that what every process takes once does
    not count as growth.
    """
    own = folder / "growth"
    target = project.start(processes, prepared, own, "growth")
    bench = Bench(processes, upstream, {target.name: target})
    bench.only(target)
    memory: list[float] = []

    def measure() -> list[Sample]:
        samples = [_ask(target, max(1, sizes.growth // 20))]
        memory.append(target.process.rss_mb())
        for _ in range(_SLICES):
            samples.append(_ask(target, sizes.growth // _SLICES))
            memory.append(target.process.rss_mb())
        return samples

    checks.compare("growth", bench, target, measure)
    processes.stop(target.process)
    shutil.rmtree(own)
    return {
        "requests": sizes.growth,
        "prompt_bytes": _PROMPT_BYTES,
        "rss_mb": [round(one, 2) for one in memory],
        "growth": round(memory[-1] / memory[0] - 1, 4),
    }


def _ask(target: Target, count: int) -> Sample:
    asking = replace(target.asking, prompt_bytes=_PROMPT_BYTES)
    patience = 30 + count / _SLOWEST_PER_S
    return load.closed(asking, numbers, connections=_CONNECTIONS, seconds=patience, most=count)
