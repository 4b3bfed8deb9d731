"""Drift of real texts, by the encoder of the ModelStore: news are not tweets, and news are news."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from inhouse.bootstrap import bootstrap
from inhouse.inference.engines.nearness import Direction
from inhouse.monitoring.drift_distance import Side, learned, texts, together
from inhouse.settings import Settings, StoreSettings

SIZE = 104
CHARACTERS = 80


def _texts(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return sorted({row["text"] for row in csv.DictReader(file)}, key=lambda text: text[::-1])


def _side(before: list[str], now: list[str], *vectors: list[Any]) -> Side:
    return together([*texts(before, now), learned("meaning", *vectors, Direction)])


@pytest.mark.data
@pytest.mark.models
def test_news_become_tweets(bench_data: Path, weights_store: Path, tmp_path: Path) -> None:
    app = bootstrap(Settings(folder=tmp_path, store=StoreSettings(path=str(weights_store))))
    encoder = app.open_encoder()
    news = _texts(bench_data / "news" / "babe_bias.csv")
    tweets = _texts(bench_data / "news" / "tweets_sentiment.csv")
    before, later = news[: 2 * SIZE : 2], news[1 : 2 * SIZE : 2]
    sides = ([text[:CHARACTERS] for text in side] for side in (before, later, tweets[:SIZE]))
    was, is_later, is_other = map(encoder.vectors, sides)
    found = {gap.name for gap in _side(before, tweets[:SIZE], was, is_other).drifted}
    assert {"meaning", "words", "characters"} <= found
    assert _side(before, later, was, is_later).drifted == ()
