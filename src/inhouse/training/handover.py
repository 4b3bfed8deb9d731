"""What the worker and its child hand each other: files in an attempt's folder, lines on a pipe.

The worker writes ``order.json`` and ``examples.jsonl``; the child writes ``artifact/`` and, last of
all, ``result.json``. Meanwhile the child says how far it is, one JSON object a line. Beside the
folders of the attempts lies ``kept/``, where the child leaves what the next attempt can go on from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from inhouse.datasets.example import Example
from inhouse.tasks.spec import TaskSpec
from inhouse.training.trainers.base import TrainedArtifact

PROGRESS = "progress"
FAILED = "failed"
KEPT = "kept"
"""Beside the attempts' folders: what the next attempt finds again."""

EXIT_FAILED = 3
EXIT_STOPPED = 4
EXIT_ORPHANED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to train: the task, the recipe with its settings, the folder of the base model."""

    spec: TaskSpec
    recipe: str
    settings: Mapping[str, Any]
    base: Path


def write_order(folder: Path, order: Order, examples: Iterable[Example]) -> None:
    """Lay down what the child reads."""
    with (folder / "examples.jsonl").open("wb") as file:
        file.writelines(msgspec.json.encode(example) + b"\n" for example in examples)
    plain = {
        "spec": order.spec,
        "recipe": order.recipe,
        "settings": order.settings,
        "base": str(order.base),
    }
    (folder / "order.json").write_bytes(msgspec.json.encode(plain))


def read_order(folder: Path) -> tuple[Order, list[Example]]:
    """What the worker laid down."""
    plain = msgspec.json.decode((folder / "order.json").read_bytes())
    order = Order(
        spec=msgspec.convert(plain["spec"], TaskSpec),
        recipe=plain["recipe"],
        settings=plain["settings"],
        base=Path(plain["base"]),
    )
    lines = (folder / "examples.jsonl").read_bytes().splitlines()
    return order, [msgspec.json.decode(line, type=Example) for line in lines]


def write_result(folder: Path, artifact: TrainedArtifact) -> None:
    """Say what was made; the file appears in one step."""
    fields = {name: getattr(artifact, name) for name in TrainedArtifact.__slots__}
    fields["files"] = artifact.files.relative_to(folder).as_posix()
    partial = folder / "result.json.part"
    partial.write_bytes(msgspec.json.encode(fields))
    partial.replace(folder / "result.json")


def read_result(folder: Path) -> TrainedArtifact:
    """What the child made. Raises FileNotFoundError when it made nothing."""
    plain = msgspec.json.decode((folder / "result.json").read_bytes())
    plain["files"] = folder / plain["files"]
    return msgspec.convert(plain, TrainedArtifact, dec_hook=_keep)


def progress_line(
    done: float, total: float, note: str, point: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """How far the child is, and a point of the run's curves (``trainers.base.curve_point``)."""
    line = {"kind": PROGRESS, "done": done, "total": total, "note": note}
    return line if point is None else {**line, "point": point}


def failed_line(reason: str, hint: str = "") -> dict[str, Any]:
    """Why the child could not do it."""
    return {"kind": FAILED, "reason": reason, "hint": hint}


def _keep(kind: type, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
