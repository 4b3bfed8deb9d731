"""Linear heads on fixed vectors: strength of the penalty by cross-validation, then one final fit.

The figures come from the rows that no fit had seen (out of fold). They also chose the penalty, so
they flatter a little; the evaluation on the test split is what counts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inhouse.tasks.scoring import calibration_error, figures, macro_f1
from inhouse.tasks.spec import TaskKind, TaskSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

Step = Callable[[int, int], None]
"""Called before every setting that is tried, with how many are done and how many there are."""

_ABSENT = -30.0
_TOLERANCE = 1e-6
_ITERATIONS = 5000
_HOTTEST = 20.0
_TOLERANCE_T = 1e-3
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a head is fitted on, row by row: vectors [n, d], targets (label numbers or values),
    weights with mean 1, and the fold that leaves the row out."""

    vectors: Floats
    targets: Any
    weights: Floats
    folds: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A fitted head: ``weight`` [k, d], ``bias`` [k] (k = labels, or 1 for a score). A choice's
    probabilities are softmax((x weight' + bias) / temperature). ``metrics`` are out of fold."""

    weight: Floats
    bias: Floats
    temperature: float
    metrics: Mapping[str, float]

    def scores(self, vectors: Floats) -> Floats:
        """x weight' + bias, [n, k]."""
        found: Floats = vectors @ self.weight.T + self.bias
        return found


def fit_choice(
    spec: TaskSpec,
    rows: Rows,
    *,
    penalties: Sequence[float],
    balances: Sequence[bool],
    step: Step,
) -> Head:
    """Multinomial logistic regression with an L2 penalty and a temperature.

    Chosen by out-of-fold macro-F1 (then by log loss) among the penalties, with labels as they are
    or weighted to equal shares. The temperature minimises the out-of-fold log loss
    (Guo et al. 2017, "On calibration of modern neural networks").
    """
    tried = []
    settings = list(itertools.product(balances, penalties))
    for done, (balanced, penalty) in enumerate(settings):
        step(done, len(settings))
        logits = _out_of_fold(rows, _Logistic(len(spec.labels), penalty, balanced))
        temperature = temperature_of(logits, rows)
        loss = log_loss(logits / temperature, rows)
        quality = macro_f1(
            _labels(spec, logits.argmax(1)), _labels(spec, rows.targets), spec.labels
        )
        tried.append((-round(quality, 6), round(loss, 6), done, temperature, logits))
    _, loss, best, temperature, logits = min(tried, key=lambda each: each[:3])
    balanced, penalty = settings[best]
    weight, bias = _Logistic(len(spec.labels), penalty, balanced)(
        rows.vectors, rows.targets, rows.weights
    )
    metrics = {
        **choice_figures(spec, logits / temperature, rows),
        "log_loss": loss,
        "penalty": penalty,
        "balanced": float(balanced),
    }
    return Head(weight=weight, bias=bias, temperature=temperature, metrics=metrics)


def fit_score(spec: TaskSpec, rows: Rows, *, penalties: Sequence[float], step: Step) -> Head:
    """Ridge regression, clipped to the range; chosen by the out-of-fold mean absolute error."""
    tried = []
    for done, penalty in enumerate(penalties):
        step(done, len(penalties))
        values = _out_of_fold(rows, _Ridge(penalty))[:, 0].clip(spec.low, spec.high)
        tried.append((round(float(abs(values - rows.targets).mean()), 6), done, values))
    _, best, values = min(tried, key=lambda each: each[:2])
    weight, bias = _Ridge(penalties[best])(rows.vectors, rows.targets, rows.weights)
    found = figures(
        spec,
        [{"value": float(value)} for value in values],
        [{"value": float(value)} for value in rows.targets],
    )
    metrics = {**found, "penalty": penalties[best]}
    return Head(weight=weight, bias=bias, temperature=1.0, metrics=metrics)


def fit_plainly(
    spec: TaskSpec, vectors: Floats, targets: Any, weights: Floats, penalty: float
) -> tuple[Floats, Floats]:
    """Weight [k, d] and bias [k] of one fit with a known penalty, with labels as they are."""
    choice = spec.kind is TaskKind.CHOICE
    fit = _Logistic(len(spec.labels), penalty, balanced=False) if choice else _Ridge(penalty)
    return fit(vectors, targets, weights)


def softmax(logits: Floats) -> Floats:
    """Probabilities by row."""
    import numpy as np

    powers = np.exp(logits - logits.max(1, keepdims=True))
    found: Floats = powers / powers.sum(1, keepdims=True)
    return found


def strata_of(spec: TaskSpec, targets: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The targets as a head takes them: the label's number, or the value."""
    if spec.kind is TaskKind.CHOICE:
        return [spec.labels.index(target["label"]) for target in targets]
    return [float(target["value"]) for target in targets]


Fit = Callable[[Any, Any, Any], "tuple[Floats, Floats]"]


@dataclass(frozen=True, slots=True)
class _Logistic:
    labels: int
    penalty: float
    balanced: bool

    def __call__(self, vectors: Floats, targets: Ints, weights: Floats) -> tuple[Floats, Floats]:
        """Weight [labels, d] and bias [labels]; a label that no row has is never answered."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(
            C=1.0 / self.penalty,
            class_weight="balanced" if self.balanced else None,
            tol=_TOLERANCE,
            max_iter=_ITERATIONS,
        ).fit(vectors, targets, sample_weight=weights)
        rows, bias = model.coef_, model.intercept_
        if len(rows) == 1:
            rows, bias = np.vstack([-rows, rows]) / 2, np.concatenate([-bias, bias]) / 2
        full = np.zeros((self.labels, vectors.shape[1]))
        offsets = np.full(self.labels, _ABSENT)
        full[model.classes_], offsets[model.classes_] = rows, bias
        return full, offsets


@dataclass(frozen=True, slots=True)
class _Ridge:
    penalty: float

    def __call__(self, vectors: Floats, targets: Floats, weights: Floats) -> tuple[Floats, Floats]:
        """Weight [1, d] and bias [1]."""
        import numpy as np
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=self.penalty, solver="cholesky")
        model.fit(vectors, targets, sample_weight=weights)
        return model.coef_.reshape(1, -1), np.array([float(model.intercept_)])


def _out_of_fold(rows: Rows, fit: Fit) -> Floats:
    """x weight' + bias of every row, by the fit that left its fold out."""
    import numpy as np

    found: Floats | None = None
    for fold in np.unique(rows.folds):
        out = rows.folds == fold
        weight, bias = fit(rows.vectors[~out], rows.targets[~out], rows.weights[~out])
        if found is None:
            found = np.zeros((len(rows.vectors), len(weight)))
        found[out] = rows.vectors[out] @ weight.T + bias
    if found is None:
        raise ValueError("there is no row")
    return found


def log_loss(logits: Floats, rows: Rows) -> float:
    import numpy as np

    right = softmax(logits)[np.arange(len(logits)), rows.targets]
    return float(-np.average(np.log(np.maximum(right, 1e-12)), weights=rows.weights))


def temperature_of(logits: Floats, rows: Rows) -> float:
    """What to divide the logits by, between 1/20 and 20. The loss is convex in its inverse, so
    halving an interval by the golden section finds the minimum."""
    low, high = -math.log(_HOTTEST), math.log(_HOTTEST)
    while high - low > _TOLERANCE_T:
        left, right = high - (high - low) * _GOLDEN, low + (high - low) * _GOLDEN
        if log_loss(logits / math.exp(left), rows) < log_loss(logits / math.exp(right), rows):
            high = right
        else:
            low = left
    return round(math.exp((low + high) / 2), 4)


def _labels(spec: TaskSpec, numbers: Any) -> list[str]:
    return [spec.labels[int(number)] for number in numbers]


def choice_figures(spec: TaskSpec, logits: Floats, rows: Rows) -> dict[str, float]:
    predicted = logits.argmax(1)
    confidences = softmax(logits).max(1)
    right = [bool(hit) for hit in predicted == rows.targets]
    found = figures(
        spec,
        [{"label": label} for label in _labels(spec, predicted)],
        [{"label": label} for label in _labels(spec, rows.targets)],
    )
    return {**found, "ece": calibration_error([float(c) for c in confidences], right)}
