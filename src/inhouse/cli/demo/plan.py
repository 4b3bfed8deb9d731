"""Which text plays which part: asked and corrected, brought in with its label, or kept apart."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from inhouse.core.errors import Invalid

LEAST_ROWS = 20
STREAM_OF_A_FILE = 240
TEST_OF_A_FILE = 120
RAMP_SHARE = 0.25
MOST_RAMP_TEXTS = 160
MOST_RAMP_CALLS = 3000
MOST_RAMP_GENERAL = 600
MOST_RAMP_GENERAL_OF_A_FILE = 200
MOST_LABELS = 20


@dataclass(frozen=True, slots=True)
class Text:
    """One text of the demo. ``target`` is the label or the score that the file gives it."""

    name: str
    group: str
    text: str
    target: str | float


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts. ``stream`` is asked of the general model and corrected by the editor; ``labelled``
    is brought in with its labels; ``ramp`` arrives while traffic moves and is in no split."""

    source: str
    kind: str
    labels: tuple[str, ...]
    low: float
    high: float
    stream: tuple[Text, ...]
    labelled: tuple[Text, ...]
    ramp: tuple[Text, ...]
    most_test: int | None

    @property
    def is_own_file(self) -> bool:
        return self.most_test is not None

    @property
    def most_ramp_general(self) -> int:
        """How often the general model is asked at most while traffic moves."""
        return MOST_RAMP_GENERAL_OF_A_FILE if self.is_own_file else MOST_RAMP_GENERAL


def plan_box() -> Plan:
    """The texts in the box: all are asked, but for those kept for the ramp."""
    source = files("inhouse.cli.demo") / "texts.csv"
    rows = list(csv.DictReader(source.read_text(encoding="utf-8").splitlines()))
    texts = [Text(row["id"], row["group"], row["text"], row["label"]) for row in rows]
    ramp, rest = _apart(texts)
    return Plan(
        source="texts made for the demo",
        kind="choice",
        labels=("negative", "neutral", "positive"),
        low=0.0,
        high=0.0,
        stream=rest,
        labelled=(),
        ramp=ramp,
        most_test=None,
    )


def plan_file(path: Path) -> Plan:
    """A CSV with columns text,label or text,score and 20 rows or more.

    The general model is asked about at most 240 of the texts in the stream; further ones are
    brought in with their labels. Raises Invalid that says what was found and what is needed.
    """
    column, texts = _read(path)
    ramp, rest = _apart(texts)
    stream = tuple(sorted(rest, key=_draw)[:STREAM_OF_A_FILE])
    chosen = {text.name for text in stream}
    labelled = tuple(text for text in rest if text.name not in chosen)
    scores = [float(text.target) for text in texts] if column == "score" else [0.0, 0.0]
    return Plan(
        source=path.name,
        kind="choice" if column == "label" else "score",
        labels=_labels(path, texts) if column == "label" else (),
        low=min(-1.0 if min(scores) < 0 else 0.0, *scores),
        high=max(1.0, *scores),
        stream=stream,
        labelled=labelled,
        ramp=ramp,
        most_test=TEST_OF_A_FILE,
    )


def _apart(texts: Sequence[Text]) -> tuple[tuple[Text, ...], tuple[Text, ...]]:
    """Whole groups for the ramp, by the hash of their key; none of fewer than 60 texts."""
    wanted = min(MOST_RAMP_TEXTS, int(len(texts) * RAMP_SHARE)) if len(texts) >= 60 else 0
    ramp: list[Text] = []
    taken: set[str] = set()
    for text in sorted(texts, key=lambda text: (_hash(text.group), text.name)):
        if len(ramp) >= wanted and text.group not in taken:
            break
        taken.add(text.group)
        ramp.append(text)
    if not wanted:
        return (), tuple(texts)
    return tuple(ramp), tuple(text for text in texts if text.group not in taken)


def _read(path: Path) -> tuple[str, list[Text]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or []
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}", code="demo-data") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise Invalid(f"{path} is no CSV in UTF-8: {error}", code="demo-data") from None
    column = next((name for name in ("label", "score") if name in columns), None)
    if column is None or "text" not in columns:
        raise Invalid(
            f"{path} has the columns {', '.join(columns) or 'none'}",
            code="demo-data",
            hint="it needs text,label or text,score",
        )
    texts = [_text(path, number, row, column) for number, row in enumerate(rows, start=2)]
    seen = {text.text: text for text in texts if text.text}
    if len(seen) < LEAST_ROWS:
        raise Invalid(
            f"{path} has {len(seen)} different texts", code="demo-data", hint="20 are the least"
        )
    return column, list(seen.values())


def _text(path: Path, number: int, row: dict[str, Any], column: str) -> Text:
    said, target = (row.get("text") or "").strip(), (row.get(column) or "").strip()
    if column == "label":
        if said and not target:
            raise Invalid(f"{path}, line {number}: no label", code="demo-data")
        return Text(f"row{number}", row.get("group") or _hash(said), said, target)
    try:
        return Text(f"row{number}", row.get("group") or _hash(said), said, float(target))
    except ValueError:
        raise Invalid(f"{path}, line {number}: {target!r} is no number", code="demo-data") from None


def _labels(path: Path, texts: Sequence[Text]) -> tuple[str, ...]:
    labels = tuple(sorted({str(text.target) for text in texts}))
    if not 2 <= len(labels) <= MOST_LABELS:
        raise Invalid(
            f"{path} has {len(labels)} different labels",
            code="demo-data",
            hint=f"2 to {MOST_LABELS} make a choice; for numbers call the column score",
        )
    return labels


def _draw(text: Text) -> str:
    return _hash(f"stream {text.name} {text.text}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
