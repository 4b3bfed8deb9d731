"""The parity check: ``python -m inhouse.training.parity MODEL_FOLDER RUN_FOLDER``.

A process that has trained nothing loads what is about to be published and answers the probe. A
model that answers otherwise than the trainer said (left in training mode, a head saved wrongly, an
export that differs) is refused, in each form of its weights that is to be published.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inhouse.inference.engines.encoder import EncoderModel, Prediction
from inhouse.training import handover
from inhouse.training.child import Send, run
from inhouse.training.trainers.base import Probe, TrainingFailed

TOLERANCE = 1e-3
"""Largest difference of a probability or of a score that rounding may make."""


def largest_difference(probes: Sequence[Probe], replies: Sequence[Prediction]) -> float:
    """The largest difference of a probability or a score between probe and reply.

    Raises TrainingFailed when one is above ``TOLERANCE``.
    """
    largest = 0.0
    for number, (probe, reply) in enumerate(zip(probes, replies, strict=True), 1):
        difference = _difference(probe, reply)
        if difference > TOLERANCE:
            raise TrainingFailed(
                f"the saved model differs from the trained one by {difference:.2g} "
                f"on probe {number} of {len(probes)}"
            )
        largest = max(largest, difference)
    return largest


def _difference(probe: Probe, reply: Prediction) -> float:
    if probe.probabilities is None:
        return abs(_number(probe.output) - _number(reply.output))
    found = reply.probabilities or {}
    if set(found) != set(probe.probabilities):
        return 1.0
    return max(abs(share - found[word]) for word, share in probe.probabilities.items())


def _number(output: Any) -> float:
    return float(output["value"]) if output else float("inf")


def check(model: Path, folder: Path, send: Send) -> None:
    """Load every form of the model and compare it with its probe of the run."""
    by_variant: dict[str, list[Probe]] = {}
    for probe in handover.read_result(folder).probe:
        by_variant.setdefault(probe.variant, []).append(probe)
    for variant, probes in by_variant.items():
        opened = EncoderModel("parity", model_dir=model, variant=variant)
        largest = largest_difference(probes, opened.predict([probe.text for probe in probes]))
        send({"kind": "parity", "variant": variant, "largest": largest, "texts": len(probes)})


def main(arguments: list[str]) -> int:
    """Check a model's folder against a run's folder."""
    model, folder = map(Path, arguments)
    return run(lambda send, _stop: check(model, folder, send))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
