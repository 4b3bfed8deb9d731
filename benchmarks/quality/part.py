"""One part of the benchmark, in its own process: ``python -m benchmarks.quality.part SET NAME``.

It writes what was answered to ``.cache/bench/quality/SET/NAME.json``, in one step, with the key of
what it was made from; a part that is there with the right key is not made again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.quality.models import parts, settings_of
from benchmarks.quality.sets import DataSet, load
from benchmarks.report import ROOT
from inhouse.core.hashing import digest_of

CACHE: Final = ROOT / ".cache" / "bench" / "quality"
_RECIPES = {"own": "encoder.v1", "frozen": "encoder-head.v1"}


def key_of(data: DataSet, name: str) -> str:
    """Names what a part is made from: rows, task and settings, not the code."""
    kind, _, seed = name.partition("-")
    settings = settings_of(data, _RECIPES[kind], int(seed)) if kind in _RECIPES else {}
    return digest_of([data.digest, name, settings])


def read(data: DataSet, name: str) -> dict[str, Any] | None:
    """A part that was made; None when there is none, or of something else."""
    try:
        found: dict[str, Any] = json.loads(_file(data, name).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return found if found["key"] == key_of(data, name) else None


def make(data: DataSet, name: str) -> None:
    """Make a part and keep it."""
    folder = CACHE / data.name
    folder.mkdir(parents=True, exist_ok=True)
    made = parts(data)[name](folder)
    file = _file(data, name)
    partial = file.with_suffix(".part")
    content = {"key": key_of(data, name), "result": made}
    partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
    partial.replace(file)


def main(arguments: Sequence[str]) -> int:
    make(load(arguments[0]), arguments[1])
    return 0


def _file(data: DataSet, name: str) -> Path:
    return CACHE / data.name / f"{name}.json"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
