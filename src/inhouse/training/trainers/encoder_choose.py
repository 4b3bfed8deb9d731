"""What cross-validation chooses: the epochs, 0 for the start as it is, and the temperature.

Fine-tuning is chosen when its best epoch beats the start on the rows held out by more than one
standard error of the difference (the rule of Breiman et al. 1984, "Classification and Regression
Trees"), else the start is kept: fewer things were learned. The standard error is that of a paired
bootstrap over the groups of those rows (Efron 1979), since rows of one group are right or wrong
together.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from inhouse.tasks.scoring import figures
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.training.trainers.encoder_start import start_head
from inhouse.training.trainers.encoder_texts import derived_seed
from inhouse.training.trainers.heads import (
    Head,
    Rows,
    choice_figures,
    log_loss,
    temperature_of,
)

if TYPE_CHECKING:
    from inhouse.training.trainers.encoder_fit import Data, Fitting, Part
    from inhouse.training.trainers.encoder_net import Net

_RESAMPLES = 200
"""Enough for a standard error (Efron and Tibshirani 1993)."""
_LARGEST_GAIN = 2.0
"""A correlation can rise from -1 to 1."""
Look = Callable[["Net"], Mapping[str, float]]


class Chosen(msgspec.Struct, frozen=True):
    """What cross-validation chose, and its figures on the rows held out."""

    epochs: int
    temperature: float
    metrics: dict[str, float]


def cross_validate(
    spec: TaskSpec, fitting: Fitting, data: Data, folds: Sequence[Part], seed: int, look: Look
) -> Chosen:
    """Fit the folds; the epochs and the temperature that are best for what was held out. ``look``
    is shown the first fold's fine-tuned network."""
    import numpy as np

    vectors = fitting.vectors()
    by_fold = []
    for number, fold in enumerate(folds):
        begun = head_of(spec, data, vectors, fold).scores(vectors[list(fold.held)])
        score = data.figure(fold.held, begun)
        tuned = fitting.answers(fold, score, look if number == 0 else None)
        by_fold.append([begun, *tuned])
    held = [row for fold in folds for row in fold.held]
    answers = [np.concatenate(each) for each in zip(*by_fold, strict=True)]
    found = [round(data.figure(held, each), 6) for each in answers]
    best = found.index(max(found[1:]), 1)

    def gain(places: Sequence[int]) -> float:
        rows, at = [held[place] for place in places], list(places)
        return data.figure(rows, answers[best][at]) - data.figure(rows, answers[0][at])

    error = gain_error([data.groups[row] for row in held], gain, seed)
    epochs = best if found[best] - found[0] > error else 0
    about = {
        "epochs": float(epochs),
        "held_out": float(len(held)),
        "start_figure": found[0],
        "fine_tuned_figure": found[best],
        "gain_error": round(error, 6),
    }
    temperature, told = _figures(spec, data, held, answers[epochs])
    told = {name: round(value, 6) for name, value in told.items()}
    return Chosen(epochs, temperature, {**told, **about})


def head_of(spec: TaskSpec, data: Data, vectors: Any, part: Part) -> Head:
    """The head of the start, fitted to a part's rows."""
    rows = list(part.rows)
    return start_head(spec, vectors[rows], data.targets[rows], data.weights[rows])


def gain_error(groups: Sequence[str], gain: Callable[[Sequence[int]], float], seed: int) -> float:
    """The standard error of a gain, by a bootstrap over the groups. ``gain`` takes positions in
    ``groups``. That of a single group is not known, and taken as larger than any gain."""
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    if len(members) == 1:
        return _LARGEST_GAIN
    rng = random.Random(derived_seed(seed, "gain"))
    names = list(members)
    drawn = [rng.choices(names, k=len(names)) for _ in range(_RESAMPLES)]
    return statistics.stdev(
        gain([place for name in some for place in members[name]]) for some in drawn
    )


def _figures(
    spec: TaskSpec, data: Data, held: Sequence[int], answers: Any
) -> tuple[float, dict[str, float]]:
    """The temperature that is best for the answers to the rows held out, and their figures."""
    import numpy as np

    targets = data.targets[list(held)]
    if spec.kind is TaskKind.SCORE:
        truth = [{"value": float(value)} for value in targets]
        return 1.0, figures(spec, outputs_of(spec, answers), truth)
    rows = Rows(
        vectors=np.zeros((len(held), 0)),
        targets=targets,
        weights=data.weights[list(held)],
        folds=np.zeros(len(held), dtype=np.int64),
    )
    temperature = temperature_of(answers, rows)
    cooled = answers / temperature
    told = {"log_loss": log_loss(cooled, rows), "temperature": temperature}
    return temperature, {**choice_figures(spec, cooled, rows), **told}


def outputs_of(spec: TaskSpec, answers: Any) -> list[dict[str, Any]]:
    """Answers [n, k] as outputs of the task."""
    if spec.kind is TaskKind.CHOICE:
        return [{"label": spec.labels[int(best)]} for best in answers.argmax(1)]
    return [{"value": float(value)} for value in answers[:, 0].clip(spec.low, spec.high)]
