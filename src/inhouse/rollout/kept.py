"""Simulated runs in a file, so that a long simulation can be stopped and go on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from inhouse.core.errors import Conflict, Invalid
from inhouse.rollout.bars import Run, Verdict
from inhouse.rollout.scenarios import Scenario
from inhouse.rollout.simulate import Key, Piece, Way, batch, rules_of

_CODE: Final = "simulated-runs"


class Kept:
    """Runs of one master seed and way. ``runs`` are those of the file and what was added, by key
    and number. Without a path nothing is kept.

    Raises Invalid (``simulated-runs``) for a file of something else, Conflict for one whose runs
    come out differently now: the first of every row is played again.
    """

    def __init__(self, path: Path | None, master: int, way: Way) -> None:
        self._path = path
        self._about = {"seed": master, "through": way.through.value, "batch": way.batch}
        self.runs: dict[Key, dict[int, Run]] = defaultdict(dict)
        if path is not None and path.exists():
            self._load(path)
            for key, found in self.runs.items():
                _check(key, min(found), found[min(found)], master, way)

    def add(self, piece: Piece) -> None:
        """Take some runs, and write them down."""
        self.runs[piece.key] |= enumerate(piece.runs, piece.first)
        if self._path is None:
            return
        line = {**self._about, "key": piece.key, "first": piece.first, "runs": piece.runs}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def rows(
        self, scenarios: Sequence[Scenario], rules: Sequence[str], most: int
    ) -> list[tuple[Scenario, str, list[Run]]]:
        """Scenario, rule and runs, of those that have any; of numbers below ``most``."""
        found = []
        for scenario in scenarios:
            for rule in (name for name in rules_of(scenario) if name in rules):
                numbered = self.runs.get((scenario.name, rule), {})
                runs = [numbered[number] for number in sorted(numbered) if number < most]
                if runs:
                    found.append((scenario, rule, runs))
        return found

    def _load(self, path: Path) -> None:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                self._read(json.loads(line))
            except (ValueError, TypeError, KeyError):
                raise Invalid(f"{path}:{number} holds no simulated runs", code=_CODE) from None

    def _read(self, line: dict[str, Any]) -> None:
        if any(line[name] != value for name, value in self._about.items()):
            return
        scenario, rule = line["key"]
        runs = [Run(Verdict(verdict), *rest) for verdict, *rest in line["runs"]]
        self.runs[scenario, rule] |= enumerate(runs, line["first"])


def _check(key: Key, number: int, run: Run, master: int, way: Way) -> None:
    [again] = batch(*key, master, number, 1, way)
    if again != run:
        raise Conflict(
            f"run {number} of {key[0]} ({key[1]}) comes out differently than the one that was kept",
            code=_CODE,
            hint="the code changed since; begin with another file",
        )
