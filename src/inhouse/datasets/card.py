"""The data card: what a snapshot holds, where it came from, and what it cannot show."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from inhouse.datasets.browse import sources as count_sources
from inhouse.datasets.erase import DROPPED as ERASED_SINCE
from inhouse.datasets.example import Split
from inhouse.datasets.snapshot import SnapshotRecord
from inhouse.datasets.tables import SnapshotExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit

_example = table_of(SnapshotExample)
_FEW_TESTED = 30
_RARE = 0.05
_MUCH_DISPUTED = 0.1
_FLAGS = {
    "valid": "--valid-fraction",
    "test": "--test-fraction",
    "max_test": "--max-test",
    "test_after": "--test-after",
    "since": "--since",
    "until": "--until",
    "near": "--near",
}
_THRESHOLDS = {"text": "near_words", "embedding": "near_meaning"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """Two near texts whose targets contradict each other."""

    text: Any
    target: Mapping[str, Any]
    other: Any
    other_target: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A snapshot described.

    ``sizes`` by split; ``labels`` by label and split, ``balance`` their shares in [0, 1];
    ``values`` of a score by split. ``sources``: examples by where they came from. ``facts``: see
    ``facts_of``; empty for a snapshot that was built before they were kept, as is ``near``.
    ``erased``: examples whose data was deleted since. ``limits``: what to keep in mind, in words.
    ``command``: what builds it again, while the data is as it was.
    """

    task: str
    task_revision: str
    id: str
    content_hash: str
    created_at: datetime
    command: str
    sizes: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int]]
    balance: Mapping[str, float]
    values: Mapping[str, Any]
    sources: Mapping[str, int]
    facts: Mapping[str, Any]
    settings: Mapping[str, Any]
    dropped: Mapping[str, int]
    near: Mapping[str, Any]
    disagreements: Sequence[Disagreement]
    erased: int
    limits: Sequence[str]


def make_card(unit: ReadUnit, record: SnapshotRecord) -> Card:
    """The data card of a snapshot, from what was counted when it was built. It names no author, and
    quotes only near texts that disagree."""
    sources = count_sources(unit, record.id)
    near = dict(record.counts.get("near") or {})
    pairs = near.pop("pairs", [])
    labels = _labels(record)
    balance = _balance(labels)
    return Card(
        task=record.task,
        task_revision=record.task_revision,
        id=record.id,
        content_hash=record.content_hash,
        created_at=record.created_at,
        command=build_command(record),
        sizes={split.value: int(record.counts.get(split.value, 0)) for split in Split},
        labels=labels,
        balance=balance,
        values=record.counts.get("values") or {},
        sources=sources,
        facts=record.counts.get("facts") or {},
        settings=record.settings,
        dropped={why: n for why, n in record.dropped.items() if why != ERASED_SINCE},
        near=near,
        disagreements=_disagreements(unit, record.id, pairs),
        erased=record.dropped.get(ERASED_SINCE, 0),
        limits=limits_of(record, sources),
    )


def build_command(record: SnapshotRecord) -> str:
    """The command that builds the snapshot again, while the data is as it was."""
    words = ["inhouse", "dataset", "build", record.task]
    settings = record.settings
    for name, flag in _FLAGS.items():
        if settings.get(name) is not None:
            words += [flag, str(settings[name])]
    threshold = settings.get(_THRESHOLDS.get(str(settings.get("near")), ""))
    if threshold is not None:
        words += ["--near-threshold", str(threshold)]
    if settings.get("newest"):
        words.append("--newest")
    return shlex.join(words)


def limits_of(record: SnapshotRecord, sources: Mapping[str, int]) -> list[str]:
    """What the snapshot cannot show, a sentence each. Pure."""
    return [
        *_limits_of_splits(record),
        *_limits_of_labels(_labels(record)),
        *_limits_of_sources(record.counts.get("facts") or {}, sources),
        *_limits_of_near(record),
    ]


def _limits_of_splits(record: SnapshotRecord) -> list[str]:
    found = []
    tested = int(record.counts.get("test", 0))
    if tested == 0:
        found.append("There is no test split: no version can be scored on it.")
    elif tested < _FEW_TESTED:
        found.append(
            f"{_counted(tested, 'test example')} is few: below {_FEW_TESTED} a score says little."
        )
    if not record.counts.get("train"):
        found.append("Nothing is there to train on.")
    if gone := record.dropped.get(ERASED_SINCE, 0):
        found.append(f"{_counted(gone, 'example')} erased since, at a subject's wish or by age.")
    return found


def _limits_of_labels(labels: Mapping[str, Mapping[str, int]]) -> list[str]:
    found = []
    for label, share in _balance(labels).items():
        if not share:
            found.append(f"Nothing is labelled {label}.")
            continue
        if share < _RARE:
            found.append(f"{label} is rare: {share:.1%} of what is labelled.")
        if not labels[label]["test"]:
            found.append(f"{label} does not occur in the test split.")
    return found


def _limits_of_sources(facts: Mapping[str, Any], sources: Mapping[str, int]) -> list[str]:
    found = []
    if facts.get("authors") == 1:
        found.append("All corrections are of one author.")
    if len(sources) == 1 and facts.get("kinds", {}).get("import"):
        found.append(f"Everything comes from one file, {next(iter(sources))}.")
    total, time = sum(sources.values()), facts.get("time", {})
    if total and time.get("undated") == total:
        found.append("No example has a time: what changed over time cannot be seen.")
    disputed = facts.get("agreement", {}).get("disputed", 0)
    if total and disputed > _MUCH_DISPUTED * total:
        found.append(f"People disagree on {disputed / total:.0%} of the examples.")
    return found


def _limits_of_near(record: SnapshotRecord) -> list[str]:
    if record.settings.get("near") in (None, "off"):
        return ["Near repeats were not looked for: a test text may nearly stand in train."]
    near = record.counts.get("near") or {}
    disagreeing, total = near.get("disagreeing", 0), near.get("repeats", 0)
    if not disagreeing:
        return []
    return [f"Of {_counted(total, 'near repeat')} {disagreeing} disagree with what they repeat."]


def _counted(n: int, thing: str) -> str:
    return f"{n} {thing}" + ("" if n == 1 else "s")


def _labels(record: SnapshotRecord) -> dict[str, dict[str, int]]:
    by_split = record.counts.get("labels") or {}
    names = dict.fromkeys(label for counts in by_split.values() for label in counts)
    return {
        label: {split.value: by_split.get(split.value, {}).get(label, 0) for split in Split}
        for label in names
    }


def _balance(labels: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    totals = {label: sum(counts.values()) for label, counts in labels.items()}
    everything = sum(totals.values())
    return {label: n / everything if everything else 0.0 for label, n in totals.items()}


def _disagreements(
    unit: ReadUnit, snapshot_id: str, pairs: Sequence[Sequence[int]]
) -> list[Disagreement]:
    wanted = sorted({position for pair in pairs for position in pair})
    if not wanted:
        return []
    rows: dict[int, Any] = {
        row.position: row
        for row in unit.execute(
            select(_example.c.position, _example.c.input, _example.c.target).where(
                _example.c.snapshot_id == snapshot_id, _example.c.position.in_(wanted)
            )
        )
    }
    found = [(rows[one], rows[other]) for one, other in pairs]
    return [
        Disagreement(text=a.input, target=a.target, other=b.input, other_target=b.target)
        for a, b in found
        if isinstance(a.input, str) and isinstance(b.input, str)
    ]
