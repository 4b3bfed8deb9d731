"""What to do next with a rollout: a pure function of its plan, where it stands, and the evidence.

It may be asked after every outcome, by any number of processes: the same question has the same
answer, and what it guards against is bounded however often it is asked.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from inhouse.rollout.guardrails import Reading, ShadowReading
from inhouse.rollout.plan import Plan, RolloutState

_THRESHOLD_LEVEL: Final = 1000.0
"""Evidence that an absolute threshold is kept, before full traffic."""
_RUNNING: Final = (
    RolloutState.RAMPING,
    RolloutState.BAKING,
    RolloutState.HELD,
    RolloutState.PAUSED,
)


class Kind(StrEnum):
    """What a decision does. All but WAIT are stored."""

    WAIT = "wait"
    RAMP = "ramp"
    ADVANCE = "advance"
    BAKE = "bake"
    FINISH = "finish"
    HOLD = "hold"
    ROLL_BACK = "roll_back"
    ABORT = "abort"


class Check(NamedTuple):
    """One condition: its name, whether it is met, what is there and what is needed."""

    name: str
    met: bool
    value: float
    needed: float

    @property
    def words(self) -> str:
        """The condition in plain words."""
        found, limit = _figure(self.value), _figure(self.needed)
        return _WORDS[self.name].format(
            value=self.value, needed=self.needed, found=found, limit=limit
        )

    @property
    def asks(self) -> bool:
        """Whether it asks for anything: at least 0 calls or seconds are always there."""
        return self.needed > 0 or self.name not in _WAITS


_WAITS: Final = ("outcomes", "dwell", "bake")
_WORDS: Final = {
    "outcomes": "{value:,.0f} outcomes of the candidate at this step, at least {needed:,.0f}",
    "dwell": "{value:,.0f} seconds at this step, at least {needed:,.0f}",
    "bake": "{value:,.0f} seconds of the bake period, at least {needed:,.0f}",
    "certificate": "evidence that the candidate is not worse by more than the margin: "
    "{found}, at least {limit}",
    "calm": "no sign of fresh harm: {found}, must stay below {limit}",
    "min_success": "failed calls of the candidate: {value:.1%}, at most {needed:.1%}",
    "max_p95_s": "calls of the candidate over the time limit: {value:.1%}, at most {needed:.1%}",
    "min_score": "mean error of the candidate: {value:.3f}, at most {needed:.3f}",
    "min_success certified": "evidence that success is above its minimum: "
    "{found}, at least {limit}",
    "max_p95_s certified": "evidence that p95 is below its maximum: {found}, at least {limit}",
    "min_score certified": "evidence that the score is above its minimum: "
    "{found}, at least {limit}",
    "harm": "the candidate is worse than the incumbent: evidence {found}, limit {limit}",
    "mismatch": "calls do not fall to the arms as the weights say: evidence {found}, "
    "limit {limit}; something loses or moves calls of one arm",
    "horizon": "no verdict after {value:,.0f} outcomes (horizon {needed:,.0f}); "
    "what is not certain is not shipped",
    "time": "no verdict after {value:,.0f} seconds (limit {needed:,.0f}); "
    "what is not certain is not shipped",
    "shadow": "no verdict after {value:,.0f} inputs of the shadow (most {needed:,.0f}); "
    "what is not certain is not shipped",
    "newer": "a newer candidate waits; traffic goes back to the incumbent before it starts",
    "moved": "somebody moved the route: it is at revision {value:.0f}, the rollout left it at "
    "{needed:.0f}; it stays as it is",
    "unfit": "the candidate may not answer the task any more: it was rejected or archived, or the "
    "task was changed",
}


def _figure(value: float) -> str:
    """Evidence without exponents: 0.41, 12.3, 1,234."""
    if value >= 1e6:
        return "over 1,000,000"
    if 0.0 < value < 0.001:
        return "under 0.001"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


class Standing(NamedTuple):
    """Where a rollout stands.

    ``candidate_before``: the candidate's outcomes when the step was entered. ``step_s``, ``age_s``:
    seconds at this step (or of the bake period) and since the start. ``superseded``: a newer
    candidate of the task waits.
    """

    state: RolloutState
    step: int
    candidate_before: int = 0
    step_s: float = 0.0
    age_s: float = 0.0
    superseded: bool = False


class Decision(NamedTuple):
    """A decision as a value.

    ``state``, ``step``, ``weight_bp``: what is to be in force. ``because``: what decided; for WAIT
    it is empty. ``checks``: the conditions of the next step, as they stand; what is not met is
    missing. ``alert``: a person should look.
    """

    kind: Kind
    state: RolloutState
    step: int
    weight_bp: int
    because: tuple[Check, ...]
    checks: tuple[Check, ...]
    alert: bool = False

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in plain words: what decided, or what is still missing."""
        return tuple(check.words for check in self.because or self.missing if check.asks)

    @property
    def missing(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.met)

    @property
    def evidence(self) -> dict[str, float]:
        """The numbers behind it, by the name of their check."""
        return {check.name: check.value for check in (*self.because, *self.checks)}


def decide(plan: Plan, standing: Standing, reading: Reading) -> Decision:
    """The next move of a rollout that has traffic; ``reading`` is for ``plan.margin_after(step)``.

    Harm rolls back in every state with traffic, also while it is held or paused, and needs no
    minimum of outcomes. What is inconclusive holds and alerts; it is never shipped.
    """
    if standing.state not in _RUNNING:
        return _stay(plan, standing, ())
    if standing.superseded:
        return abort(Check("newer", False, 1, 0))
    limit = 1.0 / plan.false_rollback
    if reading.harm >= limit:
        harm = Check("harm", False, reading.harm, limit)
        return _end(Kind.ROLL_BACK, RolloutState.ROLLED_BACK, harm)
    checks = _conditions(plan, standing, reading)
    if standing.state in (RolloutState.HELD, RolloutState.PAUSED):
        return _stay(plan, standing, checks)
    stop = next((check for check in stops(plan, standing, reading) if not check.met), None)
    if stop is not None:
        held = plan.weight_bp(standing.step)
        return Decision(
            Kind.HOLD, RolloutState.HELD, standing.step, held, (stop,), checks, alert=True
        )
    if not all(check.met for check in checks):
        return _stay(plan, standing, checks)
    return _forward(plan, standing, checks)


def decide_shadow(plan: Plan, standing: Standing, reading: ShadowReading) -> Decision:
    """The next move of a shadow: ramp when certified, end when harm is shown, hold otherwise."""
    if standing.superseded:
        return abort(Check("newer", False, 1, 0))
    needed = 1.0 / plan.false_rollback
    if reading.harm >= needed:
        harm = Check("harm", False, reading.harm, needed)
        return _end(Kind.ROLL_BACK, RolloutState.ROLLED_BACK, harm)
    checks = (_at_least("certificate", reading.certificate, 1.0 / plan.false_promotion),)
    if checks[0].met:
        return Decision(Kind.RAMP, RolloutState.RAMPING, 0, plan.weight_bp(0), checks, checks)
    if reading.inputs >= plan.shadow_inputs:
        stop = Check("shadow", False, reading.inputs, plan.shadow_inputs)
        return Decision(Kind.HOLD, RolloutState.HELD, 0, 0, (stop,), checks, alert=True)
    return Decision(Kind.WAIT, RolloutState.SHADOWING, 0, 0, (), checks)


def abort(because: Check) -> Decision:
    """The end of a rollout that cannot go on."""
    return _end(Kind.ABORT, RolloutState.ABORTED, because)


def stops(plan: Plan, standing: Standing, reading: Reading) -> tuple[Check, ...]:
    """What holds a rollout as soon as it is not met, in the order in which it is asked."""
    found = [_below("mismatch", reading.mismatch, 1.0 / plan.false_mismatch)]
    if standing.state is not RolloutState.BAKING:
        found.append(_below("horizon", reading.outcomes, plan.horizon))
        found.append(_below("time", standing.age_s, plan.time_limit_s))
    return tuple(found)


def _conditions(plan: Plan, standing: Standing, reading: Reading) -> tuple[Check, ...]:
    """What the next step needs.

    Calm: evidence of fresh harm above its mean without harm is a sign that something may have
    begun. One waits until it is gone, or has become harm. A bake without a hold-back has nobody to
    compare with.
    """
    calm = Check("calm", reading.fresh < reading.usual, reading.fresh, reading.usual)
    if standing.state is RolloutState.BAKING:
        baked = _at_least("bake", standing.step_s, plan.bake_s)
        return (baked, calm) if plan.hold_back_bp else (baked,)
    outcomes = reading.candidate - standing.candidate_before
    checks = (
        _at_least("outcomes", outcomes, plan.outcomes_at(standing.step)),
        _at_least("dwell", standing.step_s, plan.dwell_s),
        _at_least("certificate", reading.certificate, 1.0 / plan.false_promotion),
        calm,
    )
    return (*checks, *_thresholds(plan, standing.step, reading)) if reading.thresholds else checks


def _thresholds(plan: Plan, step: int, reading: Reading) -> list[Check]:
    """Estimates must keep the limits at every step; certainty is needed before full traffic."""
    checks = [
        Check(one.name, one.outcomes > 0 and one.estimate <= one.limit, one.estimate, one.limit)
        for one in reading.thresholds
    ]
    if step + 2 >= len(plan.steps_bp):
        checks += [
            _at_least(f"{one.name} certified", one.evidence, _THRESHOLD_LEVEL)
            for one in reading.thresholds
        ]
    return checks


def _at_least(name: str, value: float, needed: float) -> Check:
    return Check(name, value >= needed, value, needed)


def _below(name: str, value: float, needed: float) -> Check:
    return Check(name, value < needed, value, needed)


def _forward(plan: Plan, standing: Standing, checks: tuple[Check, ...]) -> Decision:
    last = len(plan.steps_bp) - 1
    if standing.state is RolloutState.BAKING:
        return Decision(Kind.FINISH, RolloutState.DONE, last, plan.steps_bp[last], checks, checks)
    step = standing.step + 1
    kind, state = Kind.ADVANCE, RolloutState.RAMPING
    if step >= last:
        kind, state, step = Kind.BAKE, RolloutState.BAKING, last
    return Decision(kind, state, step, plan.weight_bp(step), checks, checks)


def _stay(plan: Plan, standing: Standing, checks: tuple[Check, ...]) -> Decision:
    weight = plan.weight_bp(standing.step) if standing.state in _RUNNING else 0
    return Decision(Kind.WAIT, standing.state, standing.step, weight, (), checks)


def _end(kind: Kind, state: RolloutState, because: Check) -> Decision:
    return Decision(kind, state, 0, 0, (because,), (), alert=True)
