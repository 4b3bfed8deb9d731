"""The run: every part that is not there yet, each in its own process; then the results."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from benchmarks.quality import SETS, TIMING, part
from benchmarks.quality.models import GENERAL_ROWS, NO_VADER, SEEDS, VADER, parts, to_answer
from benchmarks.quality.sets import AGREED, DataSet, load
from benchmarks.quality.table import block
from benchmarks.quality.timing import timing
from benchmarks.report import ROOT, write_block, write_result
from inhouse.evaluation.measure import measure
from inhouse.inference.engines.children import environment


def main(only: Collection[str], jobs: int) -> int:
    """Make what is missing, write ``results/quality-SET.json`` and the block of README.md, with the
    sets that were measured. Returns 1 when a part failed; the others stand."""
    wanted = set(only) or {*SETS, TIMING}
    sets = [load(name) for name in SETS if name in wanted]
    if not VADER.is_dir():
        print(f"quality: no lexicon without `{NO_VADER}`", file=sys.stderr)
    failed = _make(sets, jobs)
    for data in sets:
        found = figures_of(data)
        print(f"wrote {write_result(f'quality-{data.name}', found)}")
    if TIMING in wanted:
        print(f"wrote {write_result('quality-timing', timing())}")
    results = {name: _result(name) for name in (*SETS, TIMING)}
    text = block({name: found for name, found in results.items() if found})
    print(text)
    if not failed:
        write_block("quality", text)
    return 1 if failed else 0


def _result(name: str) -> dict[str, Any] | None:
    """What this run or an earlier one found out."""
    path = ROOT / "benchmarks" / "results" / f"quality-{name}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def figures_of(data: DataSet) -> dict[str, Any]:
    """The figures of all that answered, on all test rows and on those of the general model."""
    made = {name: part.read(data, name) for name in parts(data)}
    results = {name: found["result"] for name, found in made.items() if found and found["result"]}
    some = results.get("general", {}).get("rows", [])
    told = {name: _told(data, name, found, some) for name, found in results.items()}
    mean = {
        figure: _mean([told[f"own-{seed}"]["figures"][figure]["estimate"] for seed in SEEDS])
        for figure in data.bars
        if all(f"own-{seed}" in told for seed in SEEDS)
    }
    return {
        "title": data.title,
        "task": data.spec.name,
        "kind": data.spec.kind,
        "rows": {"learned": len(data.train), "test": len(data.test), "general": GENERAL_ROWS},
        "settings": dict(data.overrides),
        "own_mean": mean,
        "bars": {
            figure: {
                "least": least,
                "found": mean.get(figure),
                "met": mean.get(figure, -1) >= least,
            }
            for figure, least in data.bars.items()
        },
        "models": told,
    }


def _told(data: DataSet, name: str, found: dict[str, Any], some: Sequence[int]) -> dict[str, Any]:
    rows = found.get("rows", range(len(data.test)))
    told: dict[str, Any] = {"figures": _figures(data, found["answers"], rows), "n": len(rows)}
    if some and "rows" not in found:
        told["on_the_general_models_rows"] = _figures(
            data, [found["answers"][r] for r in some], some
        )
    for variant, answers in found.get("others", {}).items():
        told[f"figures_{variant}"] = _figures(data, answers, rows)
    kept = ("served", "cross_validated", "training_seconds")
    return {**told, **{key: found[key] for key in kept if key in found}}


def _figures(data: DataSet, answers: Sequence[list[float]], rows: Sequence[int]) -> dict[str, Any]:
    targets = [data.test[row] for row in rows]
    given = [to_answer(data.spec, values) for values in answers]
    found = measure(
        data.spec,
        reference="",
        role="",
        about="",
        answers=given,
        targets=[row.target for row in targets],
        rng=random.Random(0),
    )
    told: dict[str, Any] = {name: asdict(interval) for name, interval in found.figures.items()}
    if AGREED in data.bars:
        right = [
            a.output == dict(r.target) for a, r in zip(given, targets, strict=True) if r.agreed == 1
        ]
        told[AGREED] = {"estimate": _mean([float(each) for each in right]), "n": len(right)}
    return told


def _make(sets: Sequence[DataSet], jobs: int) -> list[str]:
    """Make the parts that are missing, ``jobs`` at a time; the names of those that failed."""
    missing = [
        (data.name, name) for data in sets for name in parts(data) if part.read(data, name) is None
    ]
    failed: list[str] = []
    guard = threading.Lock()

    def make(one: tuple[str, str]) -> None:
        command = [sys.executable, "-m", "benchmarks.quality.part", *one]
        if subprocess.run(command, cwd=ROOT, env=environment(1), check=False).returncode:
            with guard:
                failed.append("/".join(one))

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(make, missing))
    for name in failed:
        print(f"quality: {name} failed", file=sys.stderr)
    return failed


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
