"""Texts of near meaning: by vectors, and by the encoder of the ModelStore."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inhouse.bootstrap import bootstrap
from inhouse.core.errors import Conflict
from inhouse.inference.engines.nearness import VectorNearness
from inhouse.settings import Settings, StoreSettings


def test_the_first_near_vector_is_found_over_many_blocks() -> None:
    drawn = np.random.default_rng(3)
    vectors = drawn.normal(size=(1300, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = vectors @ vectors.T >= 0.97
    scan = VectorNearness(vectors, 0.97).scan()
    for position in range(len(vectors)):
        side = position % 3
        if position % 5 == 0:
            continue
        others = {0, 1, 2} - {side}
        added = [n for n in np.flatnonzero(near[position, :position]) if n % 5]
        assert scan.first(position, others) == next((n for n in added if n % 3 != side), None)
        scan.add(position, side)


def test_a_store_without_the_base_says_what_to_publish(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="minilm-l6") as refused:
        bootstrap(Settings(folder=tmp_path)).open_encoder()
    assert refused.value.code == "base-missing"
    assert "store publish" in str(refused.value.hint)


@pytest.mark.models
def test_the_encoder_knows_what_is_said_in_other_words(tmp_path: Path, weights_store: Path) -> None:
    app = bootstrap(Settings(folder=tmp_path, store=StoreSettings(path=str(weights_store))))
    encoder = app.open_encoder()
    assert encoder.name.startswith("minilm-l6 ")
    texts = [
        "The company's profit increased in the third quarter.",
        "It rained in Oslo for the whole weekend.",
        "In the third quarter, the profit of the company rose.",
    ]
    scan = encoder.nearness(texts, 0.85).scan()
    assert scan.first(0, (0,)) is None
    scan.add(0, 0)
    assert scan.first(1, (0,)) is None
    scan.add(1, 0)
    assert scan.first(2, (0,)) == 0
