"""How long it takes: 500 corrections to an evaluated version, and one text at a time.

The corrections go the way of a person's: labelled rows are imported, frozen, trained on by a job,
published, registered and evaluated beside the floors and the general model.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.gateway.project import Project
from benchmarks.quality.models import store
from benchmarks.quality.sets import load
from benchmarks.report import ROOT
from inhouse.core.clock import SystemClock
from inhouse.evaluation.compare import quantile
from inhouse.inference.engines.encoder import WHOLE_GRAPHS, EncoderModel
from inhouse.inference.engines.encoder_export import quantise
from inhouse.store.store import ModelStore

CORRECTIONS: Final = 500
_WARM: Final = 50
_PASSES: Final = 5
_LARGE: Final = 1_000_000
_SETTINGS: Final = """
[server]
workers = 0
[tasks.sentiment]
builtin = "sentiment"
kind = "choice"
chain = ["embedded/smollm2-135m"]
"""


def timing() -> dict[str, Any]:
    """Measure in a folder of its own, which goes afterwards. An idle machine is assumed."""
    folder = Path(tempfile.mkdtemp(prefix="quality-", dir=ROOT / ".cache" / "bench"))
    try:
        return _timing(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _timing(folder: Path) -> dict[str, Any]:
    made = Project(folder / "project")
    made.write(_SETTINGS)
    _weights(made.folder / ".inhouse" / "store")
    data = load("phrasebank")
    corrections = _corrections(made, folder / "rows.csv")
    model = _copy(made, folder / "model")
    texts = [row.text for row in data.test]
    return {
        "cores": os.cpu_count(),
        "corrections": corrections,
        "texts": len(texts),
        "passes": _PASSES,
        "forms": _forms(model, texts),
    }


def _corrections(made: Project, file: Path) -> dict[str, Any]:
    """Wall seconds from the import of the rows to the verdict."""
    rows = random.Random(0).sample(load("phrasebank").train, CORRECTIONS)
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(("text", "target"))
        writer.writerows((row.text, row.target["label"]) for row in rows)
    began = time.perf_counter()
    made.run("dataset", "import", "sentiment", str(file))
    made.run("dataset", "build", "sentiment")
    made.run("train", "start", "sentiment", "--recipe", "encoder.v1", "--wait")
    trained = time.perf_counter()
    record = made.ask("evaluation", "run", "sentiment@1")
    ended = time.perf_counter()
    return {
        "examples": CORRECTIONS,
        "trained_s": trained - began,
        "evaluated_s": ended - trained,
        "total_s": ended - began,
        "verdict": record["verdict"],
        "run": made.ask("train", "status")[0]["metrics"],
    }


def _copy(made: Project, target: Path) -> Path:
    """The published model, with both forms, whichever of them is served."""
    found = ModelStore(made.folder / ".inhouse" / "store", SystemClock())
    version = found.versions("sentiment")[-1]
    shutil.copytree(found.resolve("sentiment", version).path, target)
    if not (target / WHOLE_GRAPHS["int8"]).is_file():
        quantise(target / WHOLE_GRAPHS["fp32"], target / WHOLE_GRAPHS["int8"])
    return target


def _forms(model: Path, texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Both forms, pass by pass in turn: milliseconds of a text, the median of the passes; and the
    size of the file."""
    opened = {name: EncoderModel("timed", model_dir=model, variant=name) for name in WHOLE_GRAPHS}
    passes = [{name: _pass(form, texts) for name, form in opened.items()} for _ in range(_PASSES)]
    return {
        name: {
            "p50_ms": median(quantile(one[name], 0.5) for one in passes),
            "p95_ms": median(quantile(one[name], 0.95) for one in passes),
            "megabytes": (model / WHOLE_GRAPHS[name]).stat().st_size / 1e6,
        }
        for name in opened
    }


def _pass(form: EncoderModel, texts: Sequence[str]) -> list[float]:
    """One text at a time, in this thread; milliseconds with tokenising, in rising order."""
    form.predict(texts[:_WARM])
    taken = []
    for text in texts:
        began = time.perf_counter()
        form.predict([text])
        taken.append((time.perf_counter() - began) * 1e3)
    return sorted(taken)


def _weights(target: Path) -> None:
    """A store with the bases; large files are links to those of the checkout."""
    store()

    def put(source: str, copy: str) -> None:
        if Path(source).stat().st_size > _LARGE:
            os.link(source, copy)
        else:
            shutil.copy2(source, copy)

    shutil.copytree(ROOT / ".cache" / "weights" / "store", target, copy_function=put, symlinks=True)
