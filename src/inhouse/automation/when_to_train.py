"""When a task is trained again. Pure; the facts come in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from inhouse.automation.steps import Rules, Step, Verb, What, wait

LONGEST_WAIT: Final = timedelta(days=7)
"""Failed runs in a row put the next one off by at most this (or ``min_interval_s``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The newest training run of the task, whatever became of it."""

    id: str
    created_at: datetime
    is_over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifted:
    """The newest look at the serving version, where it found drift; None where there is nothing to
    compare with."""

    at: datetime
    inputs: float | None
    outputs: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """What is known of a task's training.

    ``fault``: why it cannot be trained at all. ``pending``: a proposal that has not ended, in
    words. ``trained``: a run of this revision of the task was made (a cancelled one too; one that
    failed not). ``settled_at``: when it was trained, or training was declined, last. ``new``:
    examples since the snapshot of that run, or since then; ``Rules.counted`` of them at most.
    ``failures``: failed runs in a row.
    ``newest``: id of the newest run or proposal to train.
    """

    fault: str = ""
    pending: str = ""
    trained: bool = False
    settled_at: datetime | None = None
    new: int = 0
    failures: int = 0
    last: LastRun | None = None
    drift: Drifted | None = None
    newest: str = ""


def next_training(found: Learning, rules: Rules, now: datetime) -> Step:
    """Whether to train now."""
    if found.fault:
        return wait(found.fault)
    if found.last is not None and not found.last.is_over:
        return wait(f"training run {found.last.id} has not ended")
    if found.pending:
        return wait(found.pending)
    why = _trigger(found, rules, now)
    if not why:
        return wait(_missing(found, rules))
    earliest = _earliest(found, rules)
    if earliest is not None and now < earliest:
        failed = f"the last {found.failures} runs failed; " if found.failures else ""
        return wait(f"{why}; {failed}not before {_moment(earliest)}")
    return Step(
        verb=Verb.PROPOSE,
        what=What.TRAIN,
        why=why,
        based_on=found.newest or "-",
        evidence=_learning_evidence(found),
    )


def _trigger(found: Learning, rules: Rules, now: datetime) -> str:
    """Why to train, in words; "" for no reason."""
    enough = rules.retrain_after
    if enough and found.new >= enough:
        if not found.trained:
            return f"{_number(found, rules)} examples and no own model yet (retrain_after {enough})"
        return f"{_number(found, rules)} new examples{_since(found)} (retrain_after {enough})"
    if not found.trained or found.settled_at is None or not found.new:
        return ""
    drift, began = found.drift, found.last.created_at if found.last else found.settled_at
    if rules.retrain_on_drift and drift and drift.at > max(began, found.settled_at):
        far = {"inputs": drift.inputs, "outputs": drift.outputs}
        said = ", ".join(f"{name} {value:.3g}" for name, value in far.items() if value is not None)
        return f"drift on {_moment(drift.at)} ({said}), {_number(found, rules)} new examples"
    if rules.retrain_days and now - found.settled_at >= timedelta(days=rules.retrain_days):
        days = (now - found.settled_at) / timedelta(days=1)
        return f"{days:.0f} days{_since(found)}, {_number(found, rules)} new examples"
    return ""


def _missing(found: Learning, rules: Rules) -> str:
    if not found.new:
        return f"nothing new to learn from{_since(found)}"
    of = f" of {rules.retrain_after}" if rules.retrain_after else ""
    return f"{_number(found, rules)}{of} new examples{_since(found)}"


def _number(found: Learning, rules: Rules) -> str:
    return f"at least {found.new}" if found.new >= rules.counted else f"{found.new}"


def _since(found: Learning) -> str:
    return f" since {_moment(found.settled_at)}" if found.settled_at else ""


def _earliest(found: Learning, rules: Rules) -> datetime | None:
    if found.last is None:
        return None
    least = timedelta(seconds=rules.min_interval_s)
    longest = max(LONGEST_WAIT, least)
    doubled: timedelta = least * (1 << min(found.failures, 30))
    return found.last.created_at + min(longest, doubled)


def _learning_evidence(found: Learning) -> dict[str, float]:
    drift = found.drift
    numbers: dict[str, float | None] = {
        "new": found.new,
        "failures": found.failures or None,
        "drift_inputs": drift.inputs if drift else None,
        "drift_outputs": drift.outputs if drift else None,
    }
    return {name: value for name, value in numbers.items() if value is not None}


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
