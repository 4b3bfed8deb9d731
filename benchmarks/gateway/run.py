"""The run: what is started, which scenarios, where the result goes."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.gateway import project
from benchmarks.gateway.bars import bars, block
from benchmarks.gateway.encoder import encoder
from benchmarks.gateway.failures import failing
from benchmarks.gateway.lifetime import Starter, growth, starts
from benchmarks.gateway.peers import ENVIRONMENTS, PEERS, Missing, start_floor, start_mock
from benchmarks.gateway.processes import NotReady, Processes
from benchmarks.gateway.project import Prepared
from benchmarks.gateway.scenarios import DIRECT, Checks, Sizes, closed, open_loop, streams
from benchmarks.gateway.targets import Bench, Target, Upstream
from benchmarks.gateway.texts import PEER_MODEL, Asking
from benchmarks.report import write_block, write_result

FULL: Final = Sizes(
    repetitions=5,
    closed_s=2.0,
    open_repetitions=3,
    open_s=5.0,
    stream_repetitions=3,
    stream_s=4.0,
    failing=600,
    starts=3,
    growth=100_000,
    encoder_s=10.0,
)
QUICK: Final = Sizes(
    repetitions=1,
    closed_s=0.8,
    open_repetitions=1,
    open_s=1.5,
    stream_repetitions=1,
    stream_s=1.5,
    failing=100,
    starts=1,
    growth=5_000,
    encoder_s=2.0,
)
SCENARIOS: Final = ("closed", "open", "streams", "failing", "starts", "growth", "encoder")
_ALONE: Final = frozenset({"growth", "encoder"})
"""Scenarios that start what they need themselves."""
_PACKAGES: Final = ("uvicorn", "uvloop", "httptools", "msgspec", "sqlalchemy", "onnxruntime")


def main(*, quick: bool, only: Collection[str], growth_requests: int | None) -> int:
    """Measure; the whole run writes ``results/gateway.json`` and the README's block, a part of it
    (or one with a scenario that failed) only ``.cache/bench/gateway.json``. Returns 1 when an own
    gateway recorded other than what the mock counted, or a scenario failed."""
    sizes = QUICK if quick else FULL
    if growth_requests is not None:
        sizes = replace(sizes, growth=growth_requests)
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=ENVIRONMENTS))
    try:
        result = measure(sizes, only or SCENARIOS, folder, peers=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    failed = [name for name in SCENARIOS if "failed" in result.get(name, ())]
    part = quick or only or failed
    if part:
        path = ENVIRONMENTS / "gateway.json"
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    else:
        path = write_result("gateway", result)
    print(f"{block(result)}\n\nwrote {path}")
    if not part:
        write_block("gateway", block(result))
    unequal = [one for one in result["checks"] if not one["equal"]]
    for one in unequal:
        print(f"gateway: rows are not what the mock counted: {one}", file=sys.stderr)
    return 1 if unequal or failed else 0


def measure(sizes: Sizes, only: Collection[str], folder: Path, *, peers: bool) -> dict[str, Any]:
    """Run scenarios over a folder that may be deleted afterwards; processes end with it."""
    machine = {"load_average_before": os.getloadavg()[0], **_machine()}
    result: dict[str, Any] = {"machine": machine, "sizes": asdict(sizes), "targets": {}}
    checks = Checks()
    with _interruptible(), Processes(folder) as processes:
        upstream = start_mock(processes)
        needed = not _ALONE.issuperset(only)
        prepared = project.prepare(folder / "made", upstream)
        starters = _peers(processes, folder, upstream, result) if peers and needed else {}
        others = _others(starters, result)
        targets = _start(processes, folder, upstream, prepared, others) if needed else {}
        result["targets"] = {
            name: {"about": target.about, "ready_s": round(target.ready_s, 3)}
            for name, target in targets.items()
        } | result["targets"]
        bench = Bench(processes, upstream, targets)
        todo: dict[str, Callable[[], Any]] = {
            "closed": partial(closed, bench, sizes, checks),
            "open": partial(open_loop, bench, sizes, checks),
            "streams": partial(streams, bench, sizes, checks),
            "failing": partial(failing, bench, sizes),
            "starts": partial(starts, bench, prepared, starters, sizes, folder),
            "growth": partial(growth, processes, upstream, prepared, sizes, folder, checks),
            "encoder": partial(encoder, processes, folder, sizes),
        }
        for name in (name for name in SCENARIOS if name in only):
            result[name] = _timed(name, todo[name])
        result["split"] = _split(targets)
    machine["load_average_after"] = os.getloadavg()[0]
    result["checks"] = checks.found
    return {**result, "bars": bars(result)}


def _split(targets: Mapping[str, Target]) -> dict[str, float]:
    """The share of the candidate among all rows of a gateway that was asked for the task only."""
    target = targets.get("inhouse-durable")
    rows, by_reference = target.recorded() if target and target.recorded else (0, {})
    if not rows:
        return {}
    share = by_reference.get("mock/b", 0) / rows
    return {"declared": project.CANDIDATE_PERCENT / 100, "measured": round(share, 4), "rows": rows}


def _timed(name: str, scenario: Callable[[], Any]) -> Any:
    print(f"gateway: {name} ...", end="", flush=True)
    began = time.monotonic()
    try:
        found = scenario()
    except Exception as error:  # noqa: BLE001 - what the other scenarios found is kept
        found = {"failed": f"{type(error).__name__}: {error}"}
        print(f" {found['failed']}", end="", file=sys.stderr)
    print(f" {time.monotonic() - began:.0f} s", flush=True)
    return found


def _peers(
    processes: Processes, folder: Path, upstream: Upstream, result: dict[str, Any]
) -> dict[str, Starter]:
    """How to start each peer that can be installed; of the others, why not."""
    found: dict[str, Starter] = {}
    for peer in PEERS:
        try:
            python = peer.python()
        except Missing as error:
            print(f"gateway: without {peer.name}: {error}", file=sys.stderr)
            result["targets"][peer.name] = {"about": peer.name, "skipped": str(error)}
            continue
        found[peer.name] = partial(peer.start, processes, folder, python, upstream)
    return found


def _others(starters: dict[str, Starter], result: dict[str, Any]) -> list[Target]:
    """The peers, running; one that does not start is left out with the reason."""
    found = []
    for name, start in list(starters.items()):
        try:
            found.append(start())
        except NotReady as error:
            print(f"gateway: without {name}, it does not start: {error}", file=sys.stderr)
            result["targets"][name] = {"about": name, "skipped": "it does not start"}
            del starters[name]
    return found


def _start(
    processes: Processes,
    folder: Path,
    upstream: Upstream,
    prepared: Prepared,
    others: Sequence[Target],
) -> dict[str, Target]:
    """Everything that is measured, by name; the mock itself first."""
    fast = project.start(processes, prepared, folder / "fast", "inhouse-fast")
    durable = project.start(processes, prepared, folder / "durable", "inhouse-durable", "durable")
    chat = replace(
        fast,
        name="inhouse-chat",
        about="the same, recording fast, a chat with one model",
        asking=replace(fast.asking, model="mock/a"),
        failing={},
    )
    asked_directly = Asking(
        host="127.0.0.1", port=upstream.port, path="/v1/chat/completions", model=PEER_MODEL
    )
    direct = Target(
        name=DIRECT,
        about="the mock, asked directly",
        process=upstream.process,
        asking=asked_directly,
        ready_s=0.0,
        rss_mb=upstream.process.rss_mb(),
        streams=True,
    )
    floors = [start_floor(processes, folder, upstream, mode) for mode in ("off", "fast", "durable")]
    return {one.name: one for one in (direct, fast, replace(durable, failing={}), chat)} | {
        one.name: one for one in (*others, *floors)
    }


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does: every process that it started ends first."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "processor": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": f"{platform.python_version()}, {' '.join(platform.python_build())}",
        "packages": {name: version(name) for name in _PACKAGES},
    }
