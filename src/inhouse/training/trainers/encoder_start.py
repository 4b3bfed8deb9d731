"""Where ``encoder`` starts: the base as it is, with a linear head on what it says of the texts.

A fine-tune has to beat this. The head has a fixed penalty, so that nothing is searched for: it is
the middle of those that ``encoder-head`` chooses from.
"""

from __future__ import annotations

from typing import Any

from inhouse.tasks.spec import TaskSpec
from inhouse.training.trainers.heads import Head, fit_plainly

_PENALTY = 1.0


def start_head(spec: TaskSpec, vectors: Any, targets: Any, weights: Any) -> Head:
    """The head for vectors [n, d] as they are; the penalty is that of vectors whose mean length is
    1, as the length differs from base to base."""
    import numpy as np

    vectors = vectors.astype(np.float64)
    length = float(np.linalg.norm(vectors, axis=1).mean()) or 1.0
    weight, bias = fit_plainly(spec, vectors / length, targets, weights / weights.mean(), _PENALTY)
    return Head(weight=weight / length, bias=bias, temperature=1.0, metrics={})
