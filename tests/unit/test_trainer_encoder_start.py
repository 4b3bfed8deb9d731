"""What ``encoder.v1`` learns from, its start, and when a fine-tune is taken for better."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
import pytest

from inhouse.datasets.example import Example
from inhouse.testing.tiny_encoder import MOOD, TONE
from inhouse.training.trainers.encoder_choose import gain_error
from inhouse.training.trainers.encoder_full import shares_of
from inhouse.training.trainers.encoder_start import start_head


def test_doubt_about_examples_softens_what_is_learned() -> None:
    rows = [
        Example(
            input="", target={"label": "bad"}, group="a", quality=0.4, origin={"kind": "import"}
        )
    ]
    assert shares_of(MOOD, rows, 1.0).tolist() == [pytest.approx([0.6, 0.2, 0.2])]
    assert shares_of(MOOD, rows, 0.0).tolist() == [[1.0, 0.0, 0.0]]


def test_the_error_of_a_gain_counts_groups_and_not_rows() -> None:
    gains = [0.0, 1.0] * 32

    def gain(places: Sequence[int]) -> float:
        return statistics.fmean(gains[place] for place in places)

    alone = gain_error([str(place) for place in range(64)], gain, seed=0)
    assert alone == pytest.approx(0.5 / 64**0.5, rel=0.15)
    paired = gain_error([str(gains[place]) + str(place // 16) for place in range(64)], gain, seed=0)
    assert paired == pytest.approx(0.5 / 8**0.5, rel=0.15)
    assert gain_error([str(place) for place in range(64)], gain, seed=0) == alone


def test_the_gain_of_a_single_group_says_nothing() -> None:
    assert gain_error(["one"] * 9, lambda _: 1.0, seed=0) == 2.0


@pytest.mark.parametrize("length", [1e-3, 1.0, 50.0])
def test_the_length_of_vectors_does_not_change_what_a_start_answers(length: float) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(90, 8)).astype(np.float32)
    targets = np.arange(90) % 3
    vectors[:, 0] += targets
    weights = np.ones(90)
    told = start_head(MOOD, vectors, targets, weights).scores(vectors)
    scaled = (vectors * length).astype(np.float32)
    assert np.allclose(
        start_head(MOOD, scaled, targets, weights * 7).scores(scaled), told, atol=1e-3
    )
    values = targets * 2.0 - 1.0
    tones = start_head(TONE, vectors, values, weights).scores(vectors)
    again = start_head(TONE, scaled, values, weights * 7).scores(scaled)
    assert tones.shape == (90, 1)
    assert np.allclose(again, tones, atol=1e-3)


def test_a_base_that_says_the_same_of_all_texts_starts_with_the_shares() -> None:
    targets = np.array([0, 0, 0, 1])
    found = start_head(MOOD, np.zeros((4, 5), np.float32), targets, np.ones(4))
    assert found.scores(np.zeros((1, 5)))[0].argmax() == 0
    values = start_head(TONE, np.zeros((4, 5), np.float32), targets * 1.0, np.ones(4))
    assert values.scores(np.zeros((1, 5)))[0, 0] == pytest.approx(0.25)
