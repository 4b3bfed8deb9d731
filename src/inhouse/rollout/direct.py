"""Our rule without a database: simulated calls straight into the evidence and the decisions."""

from __future__ import annotations

from collections.abc import Sequence

from inhouse.rollout.bars import Verdict
from inhouse.rollout.decide import Kind, Standing, decide, decide_shadow
from inhouse.rollout.plan import RolloutState
from inhouse.rollout.played import Made, PlainRoute, Sent
from inhouse.rollout.scenarios import Scenario
from inhouse.rollout.tally import Seen, Tally

PROCESS = "g1"
USUAL_S = 0.1
"""Latency of a call where the truth gives none."""


class Direct:
    """Counts every outcome and label and decides after each, as ``reconcile`` does; time stands
    still. ``made`` are its decisions."""

    def __init__(self, scenario: Scenario, salt: str) -> None:
        plan = scenario.plan
        self.because = ""
        self.made: list[Made] = []
        self._plan = plan
        self._shadows = bool(plan.shadow_inputs)
        self._tally = Tally(plan, by_user=scenario.by_user)
        state = RolloutState.SHADOWING if self._shadows else RolloutState.RAMPING
        self._standing = Standing(state, 0)
        self._margin = plan.margin_after(0)
        self.route = PlainRoute(salt, 0 if self._shadows else plan.weight_bp(0))

    def see(self, sent: Sequence[Sent], labels: Sequence[Sent]) -> Verdict | None:
        after = sent[-1].number
        for one in sent:
            self._tally.outcome(self._seen(one))
            verdict = self._decide(after)
            if verdict is not None:
                return verdict
        for one in labels:
            self._label(one)
            verdict = self._decide(after)
            if verdict is not None:
                return verdict
        return None

    def close(self) -> None:
        """Give nothing up: nothing is held."""

    def _seen(self, one: Sent) -> Seen:
        number, call, candidate, weight_bp = one
        bad, latency = call.bad, call.latency_s
        return Seen(
            PROCESS,
            number,
            candidate and not call.moved,
            weight_bp,
            bool(bad[1] if self._shadows else bad[candidate]),
            bool(bad[0]) if self._shadows else None,
            USUAL_S if latency is None else latency[candidate],
            call.unit,
        )

    def _label(self, one: Sent) -> None:
        error = one.call.error
        if error is None:
            return
        if self._shadows:
            self._tally.pair(candidate_error=error[1], incumbent_error=error[0])
        else:
            self._tally.label(
                unit=one.call.unit,
                candidate=one.arm,
                weight_bp=one.weight_bp,
                error=error[one.candidate],
            )

    def _decide(self, after: int) -> Verdict | None:
        plan, standing = self._plan, self._standing
        if self._shadows:
            decision = decide_shadow(plan, standing, self._tally.shadow())
        else:
            reading = self._tally.reading(self._margin)
            decision = decide(plan, standing, reading)
            if decision.kind is Kind.ADVANCE:
                self._standing = Standing(decision.state, decision.step, reading.candidate)
                self._margin = plan.margin_after(decision.step)
        if decision.kind is Kind.WAIT:
            return None
        self.route.weight_bp = decision.weight_bp
        made = Made(after, decision.kind.value, decision.weight_bp, decision.evidence)
        self.made.append(made)
        self.because = made.because
        return made.verdict
