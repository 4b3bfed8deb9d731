"""When a version is rolled out. Pure; the facts come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from inhouse.automation.steps import Rules, Step, Verb, What, wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """A version beside what answers now, on the same test rows.

    ``difference`` in task score, with the ends of its 95 % interval; ``score`` of what answers now;
    times are medians in milliseconds, (low, high) of their intervals, None where not measured.
    ``cost_per_call`` of what answers now, None while no call is known; the version costs none.
    """

    other: str
    difference: float
    low: float
    high: float
    score: float
    own_p50_ms: tuple[float, float] | None = None
    other_p50_ms: tuple[float, float] | None = None
    cost_per_call: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The newest evaluation of a version. ``error``: why nothing could be measured. ``margin``: how
    much lower still counts as not worse. ``against``: None where it was not compared with what
    answers now."""

    id: str
    at: datetime
    error: str = ""
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    margin: float = 0.02
    against: Against | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Who answers a task. ``serving``: what answers by default, since ``since``. ``owner``: what
    moves the task's split now (rollout, experiment, "" for nothing). ``ramping``, ``state``: of a
    rollout. ``number``: of the version that it moves to, 0 where that is none of the task's."""

    serving: str
    since: datetime | None = None
    pin: str | None = None
    split: str = ""
    owner: str = ""
    ramping: str = ""
    state: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """The newest version of a task, while it is a candidate or rejected.

    ``never``: why it is not started by itself whatever its evaluation says. ``evaluating``: an
    evaluation has not ended. ``settled``: what was concluded from ``judged`` before, in words.
    ``asked_again``: what became of the conclusion to repeat the evaluation, in words.
    """

    reference: str
    number: int
    standing: Standing
    never: str = ""
    evaluating: bool = False
    judged: Judged | None = None
    settled: str = ""
    asked_again: str = ""


def next_rollout(found: Contest | None, rules: Rules) -> Step:
    """Whether to roll a version out now, or to evaluate it against what answers now."""
    if found is None:
        return wait("no candidate")
    judged, waiting = found.judged, _not_yet(found)
    if judged is None or waiting:
        return wait(waiting)
    if judged.verdict != "pass":
        said = "; ".join(judged.reasons) or "see its evaluation"
        return _refuse(found, judged, f"its gate says {judged.verdict}: {said}")
    if judged.against is None:
        return _compare_again(found, judged)
    worth, why, evidence = is_worth_it(judged.against, judged.margin, rules.min_gain)
    if not worth:
        return _refuse(found, judged, why, evidence)
    blocked = obstacle(found.standing, found.number)
    if blocked:
        return wait(f"{found.reference} is {why}; {blocked}")
    return Step(
        verb=Verb.PROPOSE,
        what=What.ROLL_OUT,
        about=found.reference,
        why=f"{found.reference} is {why}",
        based_on=judged.id,
        evidence=evidence,
    )


def _not_yet(found: Contest) -> str:
    """Why there is nothing to conclude, in words; "" when there is."""
    if found.never:
        return f"{found.reference} is never started by itself: {found.never}"
    if found.evaluating:
        return f"{found.reference} is being evaluated"
    if found.judged is None:
        return f"{found.reference} has no evaluation"
    if found.settled:
        return found.settled
    if found.judged.error:
        return f"{found.reference} could not be evaluated: {found.judged.error}"
    return ""


def _compare_again(found: Contest, judged: Judged) -> Step:
    """What answers changed since: evaluate once more, but not for ever."""
    serving, since = found.standing.serving, found.standing.since
    if not serving:
        return _refuse(found, judged, "nothing answers the task yet, so there is nothing to beat")
    why = f"{found.reference} was not compared with {serving}, which answers now"
    if since is None or judged.at > since:
        return _refuse(found, judged, why)
    if found.asked_again:
        return wait(f"{why}; {found.asked_again}")
    return Step(
        verb=Verb.PROPOSE,
        what=What.EVALUATE,
        about=found.reference,
        why=why,
        based_on=judged.id,
    )


def is_worth_it(
    against: Against, margin: float, min_gain: float
) -> tuple[bool, str, dict[str, float]]:
    """Whether a version may be rolled out by itself, why (in words that follow "it is"), and the
    numbers: better by ``min_gain`` of the other's score with the whole interval above zero; or
    certified not worse, and faster (medians whose intervals do not meet) or cheaper."""
    gap = f"{against.difference:+.3f} [{against.low:+.3f}, {against.high:+.3f}]"
    wanted = min_gain * against.score
    relative = f", {against.difference / against.score:+.1%} relative" if against.score else ""
    evidence = _contest_evidence(against)
    if against.low > 0 and against.difference >= wanted:
        return (
            True,
            f"better than {against.other}: {gap}{relative} (min_gain {min_gain:.0%})",
            evidence,
        )
    gains = [word for word, holds in _gains(against).items() if holds]
    if against.low > -margin and gains:
        said = " and ".join(gains)
        return True, f"certified not worse than {against.other} ({gap}) and {said}", evidence
    if against.low <= -margin:
        return False, f"not certified not worse than {against.other}: {gap}", evidence
    short = f"not better than {against.other} by {min_gain:.0%}: {gap}{relative}"
    return False, f"{short}, and neither faster nor cheaper", evidence


def _gains(against: Against) -> dict[str, bool]:
    own, other, cost = against.own_p50_ms, against.other_p50_ms, against.cost_per_call
    times = (
        f" ({own[0]:.1f}-{own[1]:.1f} ms, not {other[0]:.1f}-{other[1]:.1f})"
        if own and other
        else ""
    )
    price = f" ({cost:.3g} a call saved)" if cost else ""
    return {
        f"faster{times}": bool(own and other and own[1] < other[0]),
        f"cheaper{price}": bool(cost and cost > 0),
    }


def _contest_evidence(against: Against) -> dict[str, float]:
    numbers = {
        "difference": against.difference,
        "low": against.low,
        "high": against.high,
        "score": against.score,
    }
    cost = against.cost_per_call
    return numbers if cost is None else {**numbers, "cost_per_call": cost}


def obstacle(standing: Standing, number: int) -> str:
    """What keeps a rollout of version ``number`` from beginning now, in words; "" for nothing. A
    rollout of an older version is none: it goes back to the incumbent first."""
    if standing.pin is not None:
        return f"the route is pinned to {standing.pin}"
    if standing.owner and standing.owner != "rollout":
        return f"an {standing.owner} has the split"
    if standing.owner:
        return _ramping(standing, number)
    if standing.split:
        return f"a person gives {standing.split}"
    if not standing.serving:
        return "nothing answers the task yet"
    return ""


def _ramping(standing: Standing, number: int) -> str:
    if not 0 < standing.number < number:
        return f"{standing.ramping} is being rolled out"
    if standing.state == "paused":
        return f"a person paused the rollout of {standing.ramping}"
    if standing.state == "baking":
        return f"the rollout of {standing.ramping} is baking"
    return ""


def _refuse(
    found: Contest, judged: Judged, why: str, evidence: Mapping[str, float] | None = None
) -> Step:
    return Step(
        verb=Verb.REFUSE,
        what=What.ROLL_OUT,
        about=found.reference,
        why=why,
        based_on=judged.id,
        evidence=evidence or {},
    )
