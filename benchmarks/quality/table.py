"""The README's block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.quality import SETS, TIMING
from benchmarks.quality.models import SEEDS
from benchmarks.quality.sets import AGREED

_WORDS = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "pearson": "Pearson",
    "mae": "MAE",
    AGREED: "accuracy where all annotators agree",
}
_NAMES = {
    "majority": "majority, or the mean",
    "tf-idf": "TF-IDF + linear",
    "vader": "VADER, a lexicon",
    "general": "SmolLM2-135M, zero-shot",
}


def block(results: Mapping[str, Mapping[str, Any]]) -> str:
    """What the README says, from the results of the sets and the timing."""
    lines = [
        "Own models of 22 M parameters, trained on the train and valid rows of public data and",
        "scored once on the test rows: the mean of 3 seeds, each seed in brackets. Choices were",
        "made by cross-validation. The general model is the small one in the box, on 200 of the",
        "test rows: it speaks of no large one.",
        "",
        "| data | model | figure | mean of 3 seeds [each] | second figure |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in SETS:
        if name in results:
            lines += _of_set(results[name])
    lines += ["", *_bars(results)]
    if TIMING in results:
        lines += ["", *_timing(results[TIMING])]
    return "\n".join(lines)


def _of_set(found: Mapping[str, Any]) -> list[str]:
    main, other = ("macro_f1", "accuracy") if found["kind"] == "choice" else ("pearson", "mae")
    models, title = found["models"], found["title"]
    lines = []
    for kind, words in (("own", "**`encoder.v1`**"), ("frozen", "`encoder-head.v1`")):
        rows = [models[f"{kind}-{seed}"] for seed in SEEDS if f"{kind}-{seed}" in models]
        if rows:
            lines.append(_line(title, words, main, other, [row["figures"] for row in rows]))
    for name, words in _NAMES.items():
        if name in models:
            lines.append(_line(title, words, main, other, [models[name]["figures"]]))
    if "general" in models and "own-0" in models:
        some = [
            models[f"own-{seed}"]["on_the_general_models_rows"]
            for seed in SEEDS
            if f"own-{seed}" in models
        ]
        lines.append(_line(title, "`encoder.v1` on the same 200 rows", main, other, some))
    return lines


def _line(title: str, name: str, main: str, other: str, rows: list[Any]) -> str:
    values = [row[main]["estimate"] for row in rows]
    shown = f"{sum(values) / len(values):.3f}"
    if len(values) > 1:
        shown += f" [{', '.join(f'{value:.3f}' for value in values)}]"
    seconds = [row[other]["estimate"] for row in rows]
    second = f"{_WORDS[other]} {sum(seconds) / len(seconds):.3f}"
    return f"| {title} | {name} | {_WORDS[main]} | {shown} | {second} |"


def _bars(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = ["| bar | least | found | |", "| --- | --- | --- | --- |"]
    for name in SETS:
        for figure, bar in results.get(name, {}).get("bars", {}).items():
            if bar["found"] is None:
                continue
            met = "met" if bar["met"] else "missed"
            title = results[name]["title"]
            lines.append(
                f"| {title}, {_WORDS[figure]} | {bar['least']:.2f} | {bar['found']:.3f} | {met} |"
            )
    return lines


def _timing(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"One text at a time, {found['texts']} sentences of PhraseBank, one thread, the median of "
        f"{found['passes']} passes:",
        "",
        "| form | p50 ms | p95 ms | MB |",
        "| --- | --- | --- | --- |",
    ]
    for name, form in found["forms"].items():
        lines.append(
            f"| {name} | {form['p50_ms']:.2f} | {form['p95_ms']:.2f} | {form['megabytes']:.0f} |"
        )
    corrections = found["corrections"]
    lines += [
        "",
        f"{corrections['examples']} corrections with `encoder.v1` on {found['cores']} cores: "
        f"trained, checked and published in {corrections['trained_s']:.0f} s, evaluated "
        f"{corrections['evaluated_s']:.0f} s later; {corrections['total_s']:.0f} s in all.",
    ]
    return lines
