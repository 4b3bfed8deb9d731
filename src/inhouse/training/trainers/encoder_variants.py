"""The forms of a fine-tuned encoder: fp32, and int8 where it is faster and loses next to nothing.

Imports torch: only what runs in the child process imports this module.
"""

from __future__ import annotations

import shutil
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from inhouse.inference.engines.encoder import WHOLE_FACTS, WHOLE_GRAPHS, WholeEncoder
from inhouse.inference.engines.encoder_export import quantise, write_graph
from inhouse.training.trainers.base import Probe, Variant, Work
from inhouse.training.trainers.encoder_net import Net
from inhouse.training.trainers.encoder_texts import Texts, derived_seed

MOST_LOSS = 0.005
"""What int8 may lose of the main figure on rows that were held out."""
_BROKEN = 0.02
"""A loss on rows learned from that only an export gone wrong has."""
_HELD_ROWS = 1000
_FITTED_ROWS = 300
_FP32, _INT8 = "fp32", "int8"
Figure = Callable[[Sequence[int], Any], float]


def write(net: Net, base: Path, facts: Mapping[str, Any], folder: Path) -> None:
    """Lay down both forms, the tokenizer and the facts; fp32 is the one that is served."""
    folder.mkdir(parents=True, exist_ok=True)
    model, head = net.exportable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_graph(model, head, folder / WHOLE_GRAPHS[_FP32], "scores")
        quantise(folder / WHOLE_GRAPHS[_FP32], folder / WHOLE_GRAPHS[_INT8])
    shutil.copyfile(base / "tokenizer.json", folder / "tokenizer.json")
    serve(facts, folder, _FP32)


def serve(facts: Mapping[str, Any], folder: Path, variant: str) -> None:
    """Write the facts, with the form that is served."""
    (folder / WHOLE_FACTS).write_bytes(msgspec.json.encode({**facts, "serves": variant}))


def compare(
    work: Work[Any], folder: Path, texts: Sequence[str], rows: Sequence[int], figure: Figure
) -> dict[str, float]:
    """Both forms on rows, one text at a time as a call would come: figures, and milliseconds.

    The forms take turns, so that a busy machine troubles both alike.
    """
    forms = {name: WholeEncoder(folder, name) for name in (_FP32, _INT8)}
    scores: dict[str, list[Any]] = {name: [] for name in forms}
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for row in rows:
        work.check()
        for name, form in forms.items():
            began = time.perf_counter()
            found, _ = form.scores(texts[row])
            taken[name].append((time.perf_counter() - began) * 1e3)
            scores[name].append(found)
    measured = {}
    for name in forms:
        measured[f"{name}_figure"] = figure(rows, np.array(scores[name], dtype=np.float64))
        measured[f"{name}_p50_ms"] = statistics.median(taken[name])
    measured["int8_loss"] = measured["fp32_figure"] - measured["int8_figure"]
    return measured


def compare_held(
    work: Work[Any],
    net: Net,
    facts: Mapping[str, Any],
    texts: Sequence[str],
    held: Sequence[int],
    figure: Figure,
) -> dict[str, float]:
    """The same for a network and rows that it has not learned from; nothing is left behind."""
    folder = work.folder / "held-out"
    write(net, work.base, facts, folder)
    found = compare(work, folder, texts, _some(held, _HELD_ROWS, work), figure)
    shutil.rmtree(folder)
    return found


def choose(
    work: Work[Any],
    folder: Path,
    facts: Mapping[str, Any],
    texts: Sequence[str],
    figure: Figure,
    held: Mapping[str, float],
) -> tuple[tuple[Variant, ...], dict[str, float]]:
    """Keep int8 or remove it. The variants, the one that is served first, and what was measured.

    ``held`` is what ``compare_held`` said; the exported files themselves are compared on rows that
    they have learned from, which would show an export that went wrong.
    """
    rows = _some(range(len(texts)), _FITTED_ROWS, work)
    fitted = compare(work, folder, texts, rows, figure)
    faster = held["int8_p50_ms"] < held["fp32_p50_ms"]
    keeps = faster and held["int8_loss"] <= MOST_LOSS and fitted["int8_loss"] <= _BROKEN
    if not keeps:
        (folder / WHOLE_GRAPHS[_INT8]).unlink()
    serve(facts, folder, _INT8 if keeps else _FP32)
    measured = {
        **{name: round(value, 5) for name, value in held.items()},
        "int8_loss_fitted": round(fitted["int8_loss"], 5),
        "int8_kept": float(keeps),
    }
    kept = (_INT8, _FP32) if keeps else (_FP32,)
    return tuple(_variant(name) for name in kept), measured


def probes(
    work: Work[Any], net: Net, folder: Path, variants: Sequence[Variant], texts: Sequence[str]
) -> tuple[Probe, ...]:
    """What the torch network answers, for fp32; what the exported int8 answers, for int8."""
    windows = Texts(work.base, texts, work.settings.max_tokens).windows
    trained = net.predict(windows, work.check)
    found = []
    for variant in variants:
        form = WholeEncoder(folder, variant.dtype)
        for text, row in zip(texts, trained, strict=True):
            scores = form.scores(text)[0] if variant.dtype == _INT8 else row
            answer = form.head.answer(scores, 0)
            found.append(
                Probe(
                    text=text,
                    output=answer.output,
                    probabilities=answer.probabilities,
                    variant=variant.dtype,
                )
            )
    return tuple(found)


def _variant(dtype: str) -> Variant:
    files = (WHOLE_GRAPHS[dtype], WHOLE_FACTS, "tokenizer.json")
    return Variant(id=f"onnx-{dtype}", format="onnx", dtype=dtype, files=files)


def _some(rows: Sequence[int], most: int, work: Work[Any]) -> list[int]:
    """At most ``most`` of the rows, drawn by their numbers."""
    seed = work.settings.seed
    drawn = sorted(rows, key=lambda row: derived_seed(seed, "row", row))[:most]
    return sorted(drawn)
