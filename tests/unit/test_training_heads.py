"""Heads on made-up vectors whose best answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.training.trainers.heads import Head, Rows, fit_choice, fit_score, softmax

pytest.importorskip("sklearn")

D = 6


def choice(labels: int) -> TaskSpec:
    words = tuple(f"l{n}" for n in range(labels))
    return TaskSpec(name="t", kind=TaskKind.CHOICE, description="", labels=words, prompt="p")


SCORE = TaskSpec(name="t", kind=TaskKind.SCORE, description="", low=-1, high=1, prompt="p")


def blobs(labels: int, each: int, noise: float, seed: int = 0) -> Rows:
    """``each`` rows a label around a corner of their own; folds go round."""
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(labels), each)
    vectors = np.eye(D)[targets] + noise * rng.normal(size=(len(targets), D))
    return Rows(
        vectors=vectors,
        targets=targets,
        weights=np.ones(len(targets)),
        folds=np.arange(len(targets)) % 5,
    )


def fit(rows: Rows, labels: int, **more: object) -> Head:
    settings = {"penalties": (0.1, 1.0), "balances": (False, True), "step": lambda *_: None}
    return fit_choice(choice(labels), rows, **{**settings, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [2, 3, 5])
def test_separable_labels_are_learned(labels: int) -> None:
    head = fit(blobs(labels, 20, 0.1), labels)
    assert head.weight.shape == (labels, D)
    assert head.metrics["macro_f1"] == 1.0
    assert list(head.scores(np.eye(D)[:labels]).argmax(1)) == list(range(labels))


def test_two_labels_give_the_sigmoid_as_a_softmax() -> None:
    head = fit(blobs(2, 30, 0.8), 2)
    assert np.allclose(head.weight[0], -head.weight[1])
    shares = softmax(head.scores(np.zeros((1, D))))
    assert shares.sum() == pytest.approx(1.0)


def test_temperature_calibrates_an_overconfident_head() -> None:
    rows = blobs(3, 120, 1.2)
    head = fit(rows, 3, penalties=(1e-3,), balances=(False,))
    assert head.temperature > 1.0
    assert head.metrics["ece"] < 0.12
    assert head.metrics["log_loss"] < np.log(3)


def test_the_better_penalty_is_chosen() -> None:
    rows = blobs(2, 40, 0.3)
    kept = np.arange(80) < 60
    uneven = Rows(
        vectors=rows.vectors[kept],
        targets=rows.targets[kept],
        weights=rows.weights[kept],
        folds=rows.folds[kept],
    )
    head = fit(uneven, 2, penalties=(1e6, 0.3), balances=(False,))
    assert head.metrics["penalty"] == 0.3


def test_rare_labels_are_balanced_where_that_helps() -> None:
    rng = np.random.default_rng(1)
    targets = np.array([0] * 190 + [1] * 20)
    vectors = np.eye(D)[targets] * 0.8 + 0.5 * rng.normal(size=(len(targets), D))
    rows = Rows(
        vectors=vectors,
        targets=targets,
        weights=np.ones(len(targets)),
        folds=np.arange(len(targets)) % 5,
    )
    plain = fit(rows, 2, penalties=(10.0,), balances=(False,))
    free = fit(rows, 2, penalties=(10.0,))
    assert free.metrics["balanced"] == 1.0
    assert free.metrics["macro_f1"] > plain.metrics["macro_f1"]


def test_weights_count() -> None:
    """The same vector with two labels: the heavier one wins."""
    vectors = np.tile(np.eye(D)[:2], (20, 1))
    targets = np.tile([0, 1, 1, 0], 10)
    weights = np.where(np.arange(40) % 4 < 2, 1.9, 0.1)
    rows = Rows(vectors=vectors, targets=targets, weights=weights, folds=np.arange(40) // 8)
    head = fit(rows, 2)
    assert list(head.scores(np.eye(D)[:2]).argmax(1)) == [0, 1]


def test_a_fold_that_takes_all_of_a_label_away_is_survived() -> None:
    rows = blobs(3, 10, 0.1)
    folds = np.where(rows.targets == 2, 0, np.arange(30) % 4 + 1)
    head = fit(
        Rows(vectors=rows.vectors, targets=rows.targets, weights=rows.weights, folds=folds), 3
    )
    assert head.metrics["accuracy"] == pytest.approx(2 / 3)
    assert list(head.scores(np.eye(D)[:3]).argmax(1)) == [0, 1, 2]


def test_a_score_is_learned_and_stays_in_its_range() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, D))
    targets = np.clip(vectors[:, 0] * 0.5 + 0.05 * rng.normal(size=200), -1, 1)
    rows = Rows(vectors=vectors, targets=targets, weights=np.ones(200), folds=np.arange(200) % 5)
    head = fit_score(SCORE, rows, penalties=(1e4, 1.0), step=lambda *_: None)
    assert head.weight.shape == (1, D)
    assert head.temperature == 1.0
    assert head.metrics["pearson"] > 0.95
    assert head.metrics["mae"] < 0.1
    assert head.metrics["penalty"] == 1.0


def test_a_fit_is_repeated_to_the_last_bit() -> None:
    rows = blobs(3, 40, 0.9)
    first, second = fit(rows, 3), fit(rows, 3)
    assert (first.weight == second.weight).all()
    assert first.metrics == second.metrics


def test_the_step_is_called_before_every_setting() -> None:
    steps: list[tuple[int, int]] = []
    fit(blobs(2, 10, 0.1), 2, step=lambda *at: steps.append(at))
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4)]
