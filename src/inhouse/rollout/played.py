"""What simulated rules have in common: a route, calls that they assigned, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from inhouse.gateway.route import Split
from inhouse.rollout.bars import Verdict
from inhouse.rollout.decide import Kind
from inhouse.rollout.truths import Call

_ENDS: Final[Mapping[str, Verdict]] = {
    Kind.BAKE: Verdict.PROMOTED,
    Kind.RAMP: Verdict.PROMOTED,
    Kind.ROLL_BACK: Verdict.ROLLED_BACK,
    Kind.ABORT: Verdict.ROLLED_BACK,
    Kind.HOLD: Verdict.HELD,
}
_REASONS: Final = ("harm", "mismatch", "horizon", "time", "shadow", "moved", "unfit")


@dataclass(slots=True)
class PlainRoute:
    """What ``assign`` reads of a route, for rules that store none."""

    salt: str
    weight_bp: int
    incumbent: str = "general/model"
    candidate: str | None = "task@1"
    chain: tuple[str, ...] = ()
    pin: str | None = None


class Sent(NamedTuple):
    """A call, its number from 1 on, the arm that it was assigned to and the weight then."""

    number: int
    call: Call
    candidate: bool
    weight_bp: int

    @property
    def arm(self) -> bool:
        """The arm that it is recorded as."""
        return self.candidate and not self.call.moved


class Made(NamedTuple):
    """A decision of our rule: after how many requests, what, and from which numbers."""

    after: int
    kind: str
    weight_bp: int
    evidence: Mapping[str, float]

    @property
    def verdict(self) -> Verdict | None:
        """The end of a run, if it is one."""
        return _ENDS.get(self.kind)

    @property
    def because(self) -> str:
        """The check that decided."""
        return next((name for name in _REASONS if name in self.evidence), "certificate")


class Rule(Protocol):
    """Moves a weight by what it sees."""

    because: str

    @property
    def route(self) -> Split:
        """The route for the next calls."""
        ...

    def see(self, sent: Sequence[Sent], labels: Sequence[Sent]) -> Verdict | None:
        """Calls that were answered, and calls whose labels have come by now; the verdict, once
        there is one."""
        ...

    def close(self) -> None:
        """Give up what it holds."""
        ...
