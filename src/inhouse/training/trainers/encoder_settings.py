"""Settings of ``encoder.v1``, what they are for a number of examples, and the time it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from inhouse.datasets.example import Example
from inhouse.training.trainers.base import RecipeSettings

_MANY = 1000
_STEPS, _LEAST_EPOCHS, _MOST_EPOCHS = 400, 4, 12
_PIECES_PER_SECOND = 1100.0
"""Word pieces that one thread learns from, MiniLM-L6 on an x86-64 server core of 2024."""
READING = 1 / 3
"""What it takes to read a piece, of what it takes to learn from it."""
_SECOND_THREAD = 0.55
_CHARACTERS_PER_PIECE = 4.3
_OVERHEAD_SECONDS = 25.0


class EncoderFullSettings(RecipeSettings):
    """Settings of ``encoder.v1``."""

    base: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = "minilm-l6"
    """Sentence encoder in the ModelStore: ``config.json``, ``model.safetensors``,
    ``tokenizer.json`` of a BERT-like model."""
    epochs: int = Field(0, ge=0, le=50)
    """The most epochs; cross-validation may choose fewer, and none where a linear head on the base
    as it is does about as well. 0: as many as make about 400 steps, at least 4 and at most 12."""
    learning_rate: float = Field(1e-4, gt=0, le=1e-2)
    """Highest learning rate, after the warm-up; it falls to 0 at the end of the last epoch."""
    layer_decay: float = Field(0.9, gt=0, le=1)
    """Learning rate of a layer, as a share of that of the layer above."""
    batch: int = Field(0, ge=0, le=256)
    """Examples a step. 0: 16, and 8 of fewer than 1,000 examples."""
    max_tokens: int = Field(128, ge=8, le=512)
    """Word pieces that the network reads at once. Of a longer text an epoch learns from one window,
    drawn anew each time; an answer averages all of them."""
    frozen_layers: int = Field(0, ge=0, le=48)
    """Lowest layers that stay as they are; faster, for examples close to what the base knows."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps over which the learning rate rises."""
    weight_decay: float = Field(0.01, ge=0, le=1)
    """Weight decay of AdamW."""
    averaging: float = Field(0.13, ge=0, le=1)
    """Share of the steps that the moving average of the weights looks back on; 0 for none."""
    soften: float = Field(1.0, ge=0, le=1)
    """Of a choice: how much of the doubt in an example (1 - its quality) goes to all labels."""
    label_weights: Literal["none", "balanced"] = "none"
    """Of a choice: count labels as they are, or to equal shares."""
    loss: Literal["mse", "smooth-l1"] = "mse"
    """Of a score."""
    folds: int = Field(3, ge=2, le=20)
    """Parts that the examples are dealt into, whole groups each."""
    held_out: int = Field(250, ge=1)
    """As many folds are held out, one after the other, as give this many held-out examples."""
    max_seconds: float = Field(14400.0, gt=0)
    """Longest time that training may take, in seconds; then the run fails."""
    threads: int = Field(2, ge=1, le=64)
    """Threads of the child process."""


def estimate(examples: Sequence[Example], settings: EncoderFullSettings) -> float:
    """About how many seconds training takes, on a base of the size of MiniLM-L6."""
    settings = sized(settings, len(examples))
    lengths = [len(each.input) / _CHARACTERS_PER_PIECE + 2 for each in examples]
    pieces = sum(min(length, settings.max_tokens) for length in lengths)
    rounds = rounds_of(len(examples), settings.folds, settings.held_out)
    passes = settings.epochs * (1 + rounds * (settings.folds - 1) / settings.folds)
    speed = _PIECES_PER_SECOND * (1 + _SECOND_THREAD * (settings.threads - 1))
    return (pieces * passes + sum(lengths) * READING) / speed + _OVERHEAD_SECONDS


def sized(settings: EncoderFullSettings, examples: int) -> EncoderFullSettings:
    """The settings with epochs and batch as the number of examples asks for."""
    batch = settings.batch or (16 if examples >= _MANY else 8)
    steps = math.ceil(examples / batch)
    epochs = settings.epochs or min(_MOST_EPOCHS, max(_LEAST_EPOCHS, math.ceil(_STEPS / steps)))
    return settings.model_copy(update={"batch": batch, "epochs": epochs})


def rounds_of(examples: int, folds: int, held_out: int) -> int:
    """How many folds are held out, one after the other."""
    return min(folds, max(1, math.ceil(held_out * folds / examples)))
