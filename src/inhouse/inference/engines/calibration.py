"""The bias of a general model towards some words, measured once per task revision and kept.

A small model prefers some of the words whatever the input says. Its mean log probability of each
word over inputs that say nothing (content-free: Zhao et al. 2021, "Calibrate before use") or over
unlabelled inputs of the task (batch: Zhou et al. 2024) is that preference; it is taken off the log
likelihood of every answer. Kept as one JSON file per base and revision, the same for all processes.
"""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from inhouse.core.errors import Invalid
from inhouse.tasks.spec import TaskSpec

CONTENT_FREE = ("N/A", "", "[...]")
LEAST_TEXTS = 8
_SCHEMA = "inhouse.calibration/1"


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """``prior``: mean log probability by word. ``method``: ``content-free`` or ``batch``.
    ``weights``: SHA-256 of the weights that it was measured on. ``texts``: how many inputs."""

    schema: str = _SCHEMA
    base: str
    task: str
    revision: str
    weights: str
    method: str
    texts: int
    prior: Mapping[str, float]

    def probabilities(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Probabilities by word from log likelihoods by word, the model's preference taken off."""
        return softmax({word: score - self.prior[word] for word, score in scores.items()})


def log_softmax(scores: Mapping[str, float]) -> dict[str, float]:
    """Logarithms of shares that sum to 1."""
    highest = max(scores.values())
    total = math.log(sum(math.exp(score - highest) for score in scores.values()))
    return {word: score - highest - total for word, score in scores.items()}


def softmax(scores: Mapping[str, float]) -> dict[str, float]:
    """Shares that sum to 1."""
    return {word: math.exp(share) for word, share in log_softmax(scores).items()}


def prior_of(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean log probability of each word over some inputs' log likelihoods."""
    shares = [log_softmax(scores) for scores in measured]
    return {word: sum(each[word] for each in shares) / len(shares) for word in measured[0]}


Measure = Callable[[TaskSpec, Sequence[str]], Sequence[Mapping[str, float]]]


class Calibrations:
    """The calibrations of one base. Thread-safe, and safe among processes that share the folder.

    ``measure`` gives log likelihoods by word for texts (it may block), ``weights`` the digest of
    the weights; both run in a thread of their own.
    """

    def __init__(
        self, folder: Path, *, base: str, weights: Callable[[], str], measure: Measure
    ) -> None:
        self._folder = folder
        self._base = base
        self._weights = weights
        self._measure = measure
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="calibration")
        self._guard = threading.Lock()
        self._known: dict[str, tuple[int, Calibration]] = {}
        self._running: dict[str, Future[Calibration]] = {}

    def known(self, spec: TaskSpec) -> Calibration | None:
        """The stored calibration when this process has read it and it has not changed since."""
        found = self._known.get(spec.revision)
        return found[1] if found is not None and found[0] == self._stamp(spec) else None

    def obtain(self, spec: TaskSpec) -> Future[Calibration]:
        """The stored calibration, or a content-free one, measured and stored now. Concurrent
        callers share one measurement; one that fails is tried again at the next call."""
        with self._guard:
            running = self._running.get(spec.revision)
            if running is None:
                running = self._thread.submit(self._obtain, spec)
                self._running[spec.revision] = running
                running.add_done_callback(lambda _: self._running.pop(spec.revision, None))
            return running

    def measure_on(self, spec: TaskSpec, texts: Sequence[str]) -> Calibration:
        """Measure on unlabelled inputs of the task and store that instead of what there was.

        Raises Invalid (``calibration-texts``) for less than 8 texts.
        """
        if len(texts) < LEAST_TEXTS:
            raise Invalid(
                f"{len(texts)} texts are too few to calibrate on",
                code="calibration-texts",
                hint=f"give at least {LEAST_TEXTS} unlabelled inputs of the task; 30 are enough",
            )
        made = self._make(spec, "batch", texts)
        self._store(spec, made, replace=True)
        return made

    def close(self) -> None:
        """Let the thread go; what waits is dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _obtain(self, spec: TaskSpec) -> Calibration:
        stored = self._read(spec)
        if stored is None:
            made = self._make(spec, "content-free", CONTENT_FREE)
            self._store(spec, made, replace=False)
            stored = self._read(spec) or made
        return stored

    def _make(self, spec: TaskSpec, method: str, texts: Sequence[str]) -> Calibration:
        return Calibration(
            base=self._base,
            task=spec.name,
            revision=spec.revision,
            weights=self._weights(),
            method=method,
            texts=len(texts),
            prior=prior_of(self._measure(spec, texts)),
        )

    def _read(self, spec: TaskSpec) -> Calibration | None:
        """What is stored, when it is readable and about these words and weights."""
        stamp = self._stamp(spec)
        try:
            found = msgspec.json.decode(self._path(spec).read_bytes(), type=Calibration)
        except (OSError, msgspec.DecodeError):
            return None
        if set(found.prior) != set(spec.words) or found.weights != self._weights():
            return None
        self._known[spec.revision] = (stamp, found)
        return found

    def _store(self, spec: TaskSpec, made: Calibration, *, replace: bool) -> None:
        """Write whole or not at all. Without ``replace``, one that another process stored since
        stays."""
        path = self._path(spec)
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n")
        try:
            if replace or self._read(spec) is None:
                draft.replace(path)
        finally:
            with suppress(FileNotFoundError):
                draft.unlink()
        self._read(spec)

    def _path(self, spec: TaskSpec) -> Path:
        return self._folder / f"{self._base}-{spec.revision}.json"

    def _stamp(self, spec: TaskSpec) -> int:
        """Changes whenever the file does; 0 when there is none."""
        try:
            return self._path(spec).stat().st_mtime_ns
        except FileNotFoundError:
            return 0
