"""What can be known to be in the way before a child process is started. Pure: the facts come in."""

from __future__ import annotations

import importlib.util
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from inhouse.datasets.example import Example
from inhouse.tasks.spec import TaskKind, TaskSpec

MIN_EXAMPLES = 8
MIN_GROUPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine that would train: free bytes where runs lie, and whether a module is there."""

    free_bytes: int
    has_module: Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """The verdict: ``reasons`` in words, empty when nothing is in the way; ``hint`` what to do;
    ``seconds`` that the training takes by estimate, None where nobody knows."""

    reasons: tuple[str, ...] = ()
    hint: str = ""
    seconds: float | None = None

    @property
    def ok(self) -> bool:
        return not self.reasons


def this_host(folder: Path) -> Host:
    """The machine we are on. ``folder`` exists."""
    return Host(
        free_bytes=shutil.disk_usage(folder).free,
        has_module=lambda name: importlib.util.find_spec(name) is not None,
    )


def check_host(host: Host, *, modules: Sequence[str], extra: str, disk_bytes: int) -> Preflight:
    """Whether the modules of an extra and room on the disk are there."""
    missing = [name for name in modules if not host.has_module(name)]
    if missing:
        return Preflight(
            reasons=(f"{', '.join(missing)} is not installed",),
            hint=f"pip install 'inhouse[{extra}]'",
        )
    if host.free_bytes < disk_bytes:
        free, needed = host.free_bytes // 1_000_000, disk_bytes // 1_000_000
        return Preflight(
            reasons=(f"{free} MB of disk are free, {needed} MB are needed",),
            hint="free some, or put the project folder on another disk",
        )
    return Preflight()


def in_words(seconds: float) -> str:
    """A rough duration: ``20 s``, ``4 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{max(5, round(seconds / 5) * 5)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def check_time(seconds: float, max_seconds: float) -> Preflight:
    """Whether training fits in the time it may take, by estimate."""
    if seconds <= max_seconds:
        return Preflight(seconds=seconds)
    return Preflight(
        reasons=(f"it would take about {in_words(seconds)}, and may take {in_words(max_seconds)}",),
        hint="allow more with --set max_seconds=..., give it more --set threads=..., "
        "or take the recipe encoder-head.v1",
        seconds=seconds,
    )


def check_examples(spec: TaskSpec, examples: Sequence[Example]) -> Preflight:
    """Whether a head can be fitted and cross-validated on the examples of train and valid."""
    if len(examples) < MIN_EXAMPLES:
        reasons = [f"{len(examples)} examples to learn from; {MIN_EXAMPLES} are needed"]
    elif spec.kind is TaskKind.CHOICE:
        reasons = list(_unfit_labels(spec, examples))
    elif spec.kind is TaskKind.SCORE:
        reasons = list(_unfit_values(examples))
    else:
        reasons = [f"no head answers with {spec.kind}"]
    hint = f"add examples, then `inhouse dataset build {spec.name}`" if reasons else ""
    return Preflight(reasons=tuple(reasons), hint=hint)


def _unfit_labels(spec: TaskSpec, examples: Sequence[Example]) -> Iterator[str]:
    counts = Counter(example.target["label"] for example in examples)
    groups = defaultdict(set)
    for example in examples:
        groups[example.target["label"]].add(example.group)
    absent = [label for label in spec.labels if not counts[label]]
    if absent:
        yield "no example of " + ", ".join(repr(label) for label in absent)
    for label in spec.labels:
        if counts[label] and len(groups[label]) < MIN_GROUPS:
            yield (
                f"all {counts[label]} examples of {label!r} are of one group; "
                f"{MIN_GROUPS} groups are needed"
            )


def _unfit_values(examples: Sequence[Example]) -> Iterator[str]:
    if len({float(example.target["value"]) for example in examples}) < 2:
        yield "every example has the same value"
    if len({example.group for example in examples}) < MIN_GROUPS:
        yield "all examples are of one group"
