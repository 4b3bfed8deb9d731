"""Doing a run over, and what its processes said."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from inhouse.core.errors import Conflict
from inhouse.core.states import RUNS
from inhouse.datasets import snapshot
from inhouse.db.unit import WriteUnit
from inhouse.training import runs
from inhouse.training.execute import LOG, Training
from inhouse.training.runs import Run

MOST: Final = 64 * 1024


def repeat(training: Training, unit: WriteUnit, run_id: str, *, actor: str) -> Run:
    """Queue another run with the recipe, settings and snapshot of one that is over.

    Raises NotFound, Conflict (``run-state`` while it is not over, ``task-revision`` when the task
    is declared otherwise by now).
    """
    run = runs.get(unit, run_id)
    if not RUNS.is_final(run.status):
        raise Conflict(
            f"training run {run_id} is {run.status}",
            code="run-state",
            hint="cancel it first, or let it end",
        )
    return training.request(
        unit,
        training.catalog.get(run.task),
        snapshot.get(unit, run.snapshot_id, run.task),
        recipe=run.recipe,
        overrides=run.settings,
        actor=actor,
    )


def log_tail(training: Training, run_id: str, most: int = MOST) -> str:
    """The last ``most`` bytes of a run's log; "" while nothing was said."""
    return _tail(training.folder(run_id) / LOG, most)


def _tail(path: Path, most: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - most))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
