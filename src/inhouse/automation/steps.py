"""What can be concluded, and what becomes of a proposal. Pure.

Every conclusion carries its reasons in words with their numbers. ``facts`` reads what the rules ask
for, ``carry`` does what they conclude.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from inhouse.core.states import Transitions


class What(StrEnum):
    """What can be proposed."""

    TRAIN = "train"
    EVALUATE = "evaluate"
    ROLL_OUT = "roll_out"


class ProposalState(StrEnum):
    """State of a proposal. DONE: carried out. EXPIRED: what it was based on holds no more."""

    OPEN = "open"
    ACCEPTED = "accepted"
    DONE = "done"
    DECLINED = "declined"
    EXPIRED = "expired"


_MOST_COUNTED: Final = 1000

PROPOSALS: Final = Transitions(
    "proposal",
    {
        ProposalState.OPEN: frozenset(
            {
                ProposalState.ACCEPTED,
                ProposalState.DONE,
                ProposalState.DECLINED,
                ProposalState.EXPIRED,
            }
        ),
        ProposalState.ACCEPTED: frozenset({ProposalState.DONE, ProposalState.EXPIRED}),
        ProposalState.DONE: frozenset(),
        ProposalState.DECLINED: frozenset(),
        ProposalState.EXPIRED: frozenset(),
    },
)


class Verb(StrEnum):
    """WAIT: nothing to do. PROPOSE: this should be done. REFUSE: it is worth noting that this will
    not be done, and why."""

    WAIT = "wait"
    PROPOSE = "propose"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A conclusion. ``based_on`` names what it was concluded from: from one thing
    one conclusion."""

    verb: Verb
    why: str
    what: What = What.TRAIN
    about: str = ""
    based_on: str = ""
    evidence: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the settings of a task say; ``settings`` explains each."""

    retrain_after: int = 100
    retrain_days: float = 7.0
    retrain_on_drift: bool = True
    min_interval_s: float = 3600.0
    min_gain: float = 0.05

    @property
    def counted(self) -> int:
        """As many new examples are counted; that there are more changes nothing."""
        return self.retrain_after or _MOST_COUNTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What happened since a proposal was made. ``run``: a training run was started. ``status``: of
    the version that it is about. ``judged_again``: that has a newer evaluation. ``compared``: the
    evaluation that it is based on holds what answers now."""

    run: bool = False
    status: str = "candidate"
    judged_again: bool = False
    compared: bool = True


def outdated(what: What, about: str, since: Since) -> str:
    """Why an open proposal does not hold any more, in words; "" while it does."""
    if what is What.TRAIN:
        return "a training run was started meanwhile" if since.run else ""
    if since.status != "candidate":
        return f"{about} is {since.status}"
    if since.judged_again:
        return f"{about} was evaluated again"
    if what is What.ROLL_OUT and not since.compared:
        return f"{about} was not compared with what answers now"
    return ""


def wait(why: str) -> Step:
    """Nothing to do, and why."""
    return Step(verb=Verb.WAIT, why=why)
