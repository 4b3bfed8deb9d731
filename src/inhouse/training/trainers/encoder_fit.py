"""Fitting an encoder: parts (the folds held out, then the final one), epochs, checkpoints.

Imports torch: only what runs in the child process imports this module.

A checkpoint is written after every epoch, so that an attempt goes on where the one before it died.
Every epoch draws from a seed of its own; a run that was interrupted gives the weights that it would
have given anyway.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from inhouse.tasks.spec import TaskKind
from inhouse.training.trainers.base import TrainingFailed, Work, curve_point
from inhouse.training.trainers.encoder_net import PREDICT_BATCH, Net, optimiser
from inhouse.training.trainers.encoder_settings import READING
from inhouse.training.trainers.encoder_texts import Texts, Window, batches, derived_seed

FINAL = "final"
_CHECKPOINT = "checkpoint.pt"
_POINTS = 60
_CLIP = 1.0
_SHARE = 95.0
"""Of 100 steps of progress, what the fitting takes."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """The examples, row by row. ``targets``: label numbers, or values of a score. ``shares``, [n,
    k]: what a choice is to learn of each label. ``weights`` have the mean 1. ``figure``: the main
    figure of answers [n, k] to some rows, higher is better."""

    texts: Texts
    groups: tuple[str, ...]
    targets: Any
    shares: Any
    weights: Any
    figure: Callable[[Sequence[int], Any], float]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A network to fit: the rows that it learns from, the rows held out, its epochs."""

    name: str
    rows: tuple[int, ...]
    held: tuple[int, ...]
    epochs: int


@dataclass(kw_only=True)
class Kept:
    """What a checkpoint holds: what the base says of every row; answers to the rows held out, by
    part and epoch; what was found out about the first part's export; and the part that was being
    fitted."""

    key: str
    vectors: Any = None
    answers: dict[str, list[Any]] = field(default_factory=dict)
    found: dict[str, float] = field(default_factory=dict)
    part: str = ""
    epochs: int = 0
    net: dict[str, Any] = field(default_factory=dict)
    optimiser: dict[str, Any] = field(default_factory=dict)


class Fitting:
    """Fits parts one after another. ``key`` names what is learned from: a checkpoint of anything
    else is not gone on from. ``outputs``: answers a text."""

    def __init__(self, work: Work[Any], data: Data, *, key: str, outputs: int) -> None:
        self._work = work
        self._data = data
        self._outputs = outputs
        self._file = work.kept / _CHECKPOINT
        self.kept = _load(self._file, key)
        self._settings = work.settings
        self._began = time.monotonic()
        self._last: dict[str, Any] = {}
        self._total = self._done = self._resumed = 0.0
        self._reading = READING * sum(map(len, data.texts.windows))

    def plan(self, parts: Sequence[Part]) -> None:
        """Say what there is to do, for the progress."""
        self._total = self._reading + sum(len(part.rows) * part.epochs for part in parts)
        self._done = self._resumed = 0.0 if self.kept.vectors is None else self._reading

    def drop_epochs(self, final: Part, epochs: int) -> None:
        """Fewer epochs of the final part than planned."""
        self._total -= float((final.epochs - epochs) * len(final.rows))

    def vectors(self) -> Any:
        """What the base as it is gives a head of every row, float32 [n, d]."""
        if self.kept.vectors is None:
            windows = self._data.texts.windows
            step = self._reading / math.ceil(sum(map(len, windows)) / PREDICT_BATCH)

            def read() -> None:
                self._work.check()
                self._work.report(self._progress(), 100.0, "encoding the examples")
                self._done += step

            net = Net(self._work.base, self._outputs, frozen_layers=0, decay=0.0)
            self.kept.vectors = net.vectors(windows, read).astype("float32")
            self._write()
        return self.kept.vectors

    def answers(
        self, part: Part, start: float, look: Callable[[Net], Mapping[str, float]] | None
    ) -> list[Any]:
        """Fit a part and answer its held-out rows after every epoch: [rows, k] each.

        ``start``: how good the answers are before the first. ``look`` is shown the fitted network;
        what it finds stays in ``kept.found``.
        """
        found = self.kept.answers.get(part.name, [])
        unseen = look is not None and not self.kept.found
        if len(found) < part.epochs or (unseen and self.kept.part == part.name):
            net = self.fit(part, start)
            if look is not None and unseen:
                net.swap()
                self.kept.found = dict(look(net))
                net.swap()
                self._save(part, part.epochs, net, None)
        else:
            self._skip(part, part.epochs)
        return self.kept.answers[part.name]

    def fit(self, part: Part, start: float | None = None) -> Net:
        """The fitted network of a part; ``swap`` puts the average of its weights in place."""
        torch.manual_seed(derived_seed(self._settings.seed, part.name))
        steps = math.ceil(len(part.rows) / self._settings.batch) * self._settings.epochs
        net = self._net(part, steps)
        settings = self._settings
        steered = optimiser(
            net, settings.learning_rate, settings.layer_decay, settings.weight_decay
        )
        begun = self._resume(part, net, steered)
        if start is not None and not begun:
            self._tell(part, curve_point(part=part.name, epoch=0.0, step=0, valid_score=start))
        for epoch in range(begun, part.epochs):
            self._epoch(part, epoch, net, steered, steps)
            if part.held:
                net.swap()
                self._hold_against(part, net)
                net.swap()
            self._save(part, epoch + 1, net, steered)
        net.evaluate()
        return net

    def _net(self, part: Part, steps: int) -> Net:
        shift, scale = 0.0, 1.0
        if self._work.spec.kind is TaskKind.SCORE:
            values = self._data.targets[list(part.rows)]
            shift, scale = float(values.mean()), float(values.std()) or 1.0
        return Net(
            self._work.base,
            self._outputs,
            frozen_layers=self._settings.frozen_layers,
            decay=1.0 - 1.0 / max(1.0, self._settings.averaging * steps),
            shift=shift,
            scale=scale,
        )

    def _hold_against(self, part: Part, net: Net) -> None:
        """Answer the rows held out, and tell how good that is."""
        windows = [self._data.texts.windows[row] for row in part.held]
        found = net.predict(windows, self._work.check)
        self.kept.answers.setdefault(part.name, []).append(found)
        score = self._data.figure(part.held, found)
        self._tell(part, {**self._last, "valid_score": round(score, 5)})

    def _epoch(self, part: Part, epoch: int, net: Net, steered: Any, steps: int) -> None:
        seed = derived_seed(self._settings.seed, part.name, epoch)
        torch.manual_seed(seed)
        rng = random.Random(seed)
        windows = self._data.texts.draw(part.rows, rng)
        order = list(batches(windows, self._settings.batch, rng))
        every = max(1, len(order) * part.epochs // _POINTS)
        first, losses = epoch * len(order), list[float]()
        net.train()
        for number, at in enumerate(order, 1):
            self._work.check()
            for group in steered.param_groups:
                group["lr"] = group["peak"] * self._rate(first + number, steps)
            loss = self._loss(net, [windows[each] for each in at], [part.rows[each] for each in at])
            steered.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.weights, _CLIP)
            steered.step()
            if first + number > self._settings.warmup * steps:
                net.follow()
            losses.append(float(loss.detach()))
            self._done += len(at)
            if number % every == 0 or number == len(order):
                self._last = curve_point(
                    part=part.name,
                    epoch=epoch + number / len(order),
                    step=first + number,
                    train_loss=sum(losses) / len(losses),
                    seconds_left=self._seconds_left(),
                )
                losses.clear()
                if number < len(order) or not part.held:
                    self._tell(part, self._last)

    def _rate(self, step: int, steps: int) -> float:
        """Up in a straight line over the warm-up, then down to 0 at the last step."""
        warm: float = self._settings.warmup * steps
        return step / warm if step <= warm else (steps - step + 1) / max(1.0, steps - warm)

    def _loss(self, net: Net, windows: Sequence[Window], rows: Sequence[int]) -> Any:
        answers = net.answers(windows)
        weights = torch.tensor(self._data.weights[list(rows)], dtype=torch.float32)
        if self._work.spec.kind is TaskKind.CHOICE:
            aims = torch.tensor(self._data.shares[list(rows)], dtype=torch.float32)
            losses = torch.nn.functional.cross_entropy(answers, aims, reduction="none")
        else:
            values = (self._data.targets[list(rows)] - net.shift) / net.scale
            aims = torch.tensor(values, dtype=torch.float32)
            measure = {
                "mse": torch.nn.functional.mse_loss,
                "smooth-l1": torch.nn.functional.smooth_l1_loss,
            }[self._settings.loss]
            losses = measure(answers[:, 0], aims, reduction="none")
        loss = (losses * weights).mean()
        if not torch.isfinite(loss):
            raise TrainingFailed("the loss is no number any more; a lower learning_rate may help")
        return loss

    def _tell(self, part: Part, point: dict[str, Any]) -> None:
        note = f"{part.name}, epoch {math.ceil(point['epoch'])} of {part.epochs}"
        self._work.report(self._progress(), 100.0, note, point)

    def _progress(self) -> float:
        return self._done / max(self._total, 1.0) * _SHARE

    def _seconds_left(self) -> float:
        """At the speed of this attempt so far."""
        fresh = self._done - self._resumed
        return (self._total - self._done) * (time.monotonic() - self._began) / max(fresh, 1.0)

    def _skip(self, part: Part, epochs: int) -> None:
        self._done += epochs * len(part.rows)
        self._resumed += epochs * len(part.rows)

    def _resume(self, part: Part, net: Net, steered: Any) -> int:
        """Take up the part where a checkpoint left it; how many epochs are done."""
        if self.kept.part != part.name:
            self.kept.answers.pop(part.name, None)
            return 0
        net.restore(self.kept.net)
        if self.kept.optimiser:
            steered.load_state_dict(self.kept.optimiser)
        self._skip(part, self.kept.epochs)
        return self.kept.epochs

    def _save(self, part: Part, epochs: int, net: Net, steered: Any) -> None:
        """Keep how far a part is."""
        self.kept.part, self.kept.epochs, self.kept.net = part.name, epochs, net.state()
        self.kept.optimiser = steered.state_dict() if steered is not None else {}
        self._write()

    def _write(self) -> None:
        """Write a checkpoint; it is there in one step, or not at all."""
        plain = {
            name: getattr(self.kept, name)
            for name in ("key", "found", "part", "epochs", "net", "optimiser")
        }
        answers = {
            name: [torch.from_numpy(each) for each in rows]
            for name, rows in self.kept.answers.items()
        }
        partial = self._file.with_suffix(".part")
        with partial.open("wb") as file:
            vectors = torch.from_numpy(self.kept.vectors)
            torch.save({**plain, "answers": answers, "vectors": vectors}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._file)


def _load(file: Path, key: str) -> Kept:
    """What an earlier attempt kept; nothing when there is none, it is cut short, or of another
    work."""
    if not file.is_file():
        return Kept(key=key)
    try:
        plain = torch.load(file, weights_only=True)
        answers = {
            name: [each.numpy() for each in rows] for name, rows in plain.pop("answers").items()
        }
        kept = Kept(**plain, answers=answers)
        kept.vectors = kept.vectors.numpy()
    except Exception:  # noqa: BLE001  whatever is wrong with it, the work starts over
        return Kept(key=key)
    return kept if kept.key == key else Kept(key=key)
