"""What the pages of data sets show: counts as tables, reasons in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inhouse.datasets.diff import Diff
from inhouse.datasets.snapshot import SnapshotRecord

SPLITS = ("train", "valid", "test")
CHANGES: Mapping[str, str] = {
    "target": "other answer",
    "removed": "gone",
    "added": "new",
    "input": "other spelling",
    "split": "other split",
    "weight": "other weight",
    "quality": "other agreement",
}
"""What can have changed between two snapshots, in words."""
REASONS: Mapping[str, str] = {
    "no-interaction": "feedback on a call that is not recorded",
    "other-revision": "the task was declared differently then",
    "unfit-target": "what was said is no output of the task",
    "empty-input": "the input is blank or was erased",
    "duplicate": "the same text with the same answer is there already",
    "near-duplicate": "almost the same text is there already, in another split",
    "conflicting": "the same text is there with an answer that more weight stands behind",
    "erased": "the subject's data was deleted",
}
"""Why something was left out, in words; a reason that is not here is shown by its code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountRow:
    """Examples with one label by split, and in all; ``share`` of the snapshot in [0, 1]."""

    label: str
    counts: Sequence[int]
    total: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRow:
    """Values of a score in one split: mean and range; None where it is empty."""

    split: str
    mean: float | None
    low: float | None
    high: float | None


def total(record: SnapshotRecord) -> int:
    """Examples in all splits."""
    return sum(int(record.counts.get(split, 0)) for split in SPLITS)


def label_rows(record: SnapshotRecord) -> list[CountRow]:
    """Examples by label, in the task's order; nothing for a task without labels."""
    by_split: Mapping[str, Mapping[str, int]] = record.counts.get("labels") or {}
    named = dict.fromkeys(label for split in SPLITS for label in by_split.get(split, {}))
    everything = sum(sum(by_split.get(split, {}).values()) for split in SPLITS)
    rows = []
    for label in named:
        counts = [by_split.get(split, {}).get(label, 0) for split in SPLITS]
        share = sum(counts) / everything if everything else 0.0
        rows.append(CountRow(label=label, counts=counts, total=sum(counts), share=share))
    return rows


def value_rows(record: SnapshotRecord) -> list[ValueRow]:
    """Values of a score by split; nothing for another kind."""
    by_split: Mapping[str, Any] = record.counts.get("values") or {}
    rows = []
    for split in SPLITS if by_split else ():
        found = by_split.get(split) or {}
        rows.append(
            ValueRow(
                split=split, mean=found.get("mean"), low=found.get("min"), high=found.get("max")
            )
        )
    return rows


def moves(diff: Diff) -> str:
    """Which splits examples went between."""
    return ", ".join(f"{one.examples:,} {one.before} to {one.after}" for one in diff.moves)


def dropped_rows(record: SnapshotRecord) -> list[tuple[str, str, int]]:
    """What was left out: the code of the reason, its words, how many; the most first."""
    ranked = sorted(record.dropped.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(code, REASONS.get(code, code), count) for code, count in ranked if count]


def sentence(record: SnapshotRecord) -> str:
    """What the snapshot holds, in one sentence."""
    n, left_out = total(record), sum(record.dropped.values())
    parts = " and ".join(f"{int(record.counts.get(s, 0)):,} to {w}" for s, w in _USES)
    tail = f" {left_out:,} were left out." if left_out else " Nothing was left out."
    return f"{n:,} examples of {record.task}: {parts}.{tail}".replace(" and ", ", ", 1)


def settings_rows(record: SnapshotRecord) -> list[tuple[str, str]]:
    """How the snapshot was built, as words and values."""
    settings = record.settings
    named = {
        "valid": "Share for choosing",
        "test": "Share for scoring",
        "max_test": "At most for scoring",
        "newest": "Score on the newest",
        "test_after": "Score on what came after",
        "since": "Recorded since",
        "until": "Recorded until",
        "near": "Near repeats found by",
        "near_words": "Near by words from",
        "near_meaning": "Near by meaning from",
        "near_encoder": "Meaning read by",
    }
    found = []
    for name, value in settings.items():
        if value is None or value is False:
            continue
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        found.append((named.get(name, name.replace("_", " ").capitalize()), shown))
    return found


_USES = (("train", "learn from"), ("valid", "choose by"), ("test", "score on"))
