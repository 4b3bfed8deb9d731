"""Worlds of which everything is known: what either model would have done with every call.

A truth is an endless stream of calls. It holds the outcomes of both models for each of them, so
that different rules meet the same stream, and it knows nothing of tests, plans or decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import accumulate, count
from random import Random
from typing import Final, NamedTuple

Rate = Callable[[int], float]
"""Chance of a bad outcome of the n-th call."""

_TYPICAL_S: Final = 0.4
_SPREAD: Final = 0.5
_STRAGGLERS: Final = 0.03
_STRAGGLER_TIMES: Final = 4.0


class Call(NamedTuple):
    """One call. Pairs are (the incumbent's, the candidate's).

    ``bad``: 0 for success, 1 for failure. ``latency_s`` and ``error`` (of an arm-blind label) are
    None where nothing was measured. ``moved``: if it is the candidate's, it is recorded as the
    incumbent's.
    """

    unit: str
    bad: tuple[float, float]
    latency_s: tuple[float, float] | None = None
    error: tuple[float, float] | None = None
    moved: bool = False


def steady(rate: float) -> Rate:
    return lambda number: rate


def breaking(good: float, broken: float, after: int) -> Rate:
    return lambda number: good if number < after else broken


def hardening(easy: float, times: float, over: int) -> Rate:
    """Difficulty rises in a line, to ``times`` as many failures after ``over`` calls."""
    return lambda number: easy * (1.0 + (times - 1.0) * min(1.0, number / over))


def independent(incumbent: Rate, candidate: Rate) -> Callable[[Random], Iterator[Call]]:
    """Calls that fail independently of each other, and of the other model."""

    def calls(rng: Random) -> Iterator[Call]:
        for number in count():
            bad = (_flip(rng, incumbent(number)), _flip(rng, candidate(number)))
            yield Call(f"r{number}", bad)

    return calls


def measured(
    incumbent: float, candidate: float, *, labelled: float, wrong: float, slower: float = 1.0
) -> Callable[[Random], Iterator[Call]]:
    """Calls with latencies (lognormal, 3 % of them stragglers) and arm-blind labels for a share.

    Of what is answered and labelled, both models are wrong equally often; what was not answered is
    wrong. The candidate is ``slower`` times as slow.
    """

    def calls(rng: Random) -> Iterator[Call]:
        for number in count():
            bad = (_flip(rng, incumbent), _flip(rng, candidate))
            latency = (_latency(rng), _latency(rng) * slower)
            error = None
            if rng.random() < labelled:
                error = (max(bad[0], _flip(rng, wrong)), max(bad[1], _flip(rng, wrong)))
            yield Call(f"r{number}", bad, latency, error)

    return calls


def misrouted(share: float) -> Callable[[Random], Iterator[Call]]:
    """Two perfect models; a share of the candidate's calls is recorded as the incumbent's."""

    def calls(rng: Random) -> Iterator[Call]:
        for number in count():
            yield Call(f"r{number}", (0.0, 0.0), moved=rng.random() < share)

    return calls


def sharing(both: float, incumbent: float, candidate: float) -> Callable[[Random], Iterator[Call]]:
    """Chances that both fail, only the incumbent, and only the candidate."""

    def calls(rng: Random) -> Iterator[Call]:
        for number in count():
            drawn = rng.random()
            bad = (0.0, 0.0)
            if drawn < both:
                bad = (1.0, 1.0)
            elif drawn < both + incumbent:
                bad = (1.0, 0.0)
            elif drawn < both + incumbent + candidate:
                bad = (0.0, 1.0)
            yield Call(f"r{number}", bad)

    return calls


def judged(calls: Callable[[Random], Iterator[Call]]) -> Callable[[Random], Iterator[Call]]:
    """The same, where every call is answered, and a label of each says what was bad."""

    def told(rng: Random) -> Iterator[Call]:
        for one in calls(rng):
            yield one._replace(bad=(0.0, 0.0), error=one.bad)

    return told


def sticky(
    sizes: tuple[int, ...], rate: float, correlation: float
) -> Callable[[Random], Iterator[Call]]:
    """Equal models called by few users, each with a rate of failures of their own (beta
    distributed, ``correlation`` within a user); a few users make most calls (Zipf)."""
    strength = 1.0 / correlation - 1.0

    def calls(rng: Random) -> Iterator[Call]:
        users = range(rng.choice(sizes))
        rates = [rng.betavariate(rate * strength, (1.0 - rate) * strength) for _ in users]
        weights = list(accumulate(1.0 / (user + 1) for user in users))
        while True:
            (user,) = rng.choices(users, cum_weights=weights)
            yield Call(f"u{user}", (_flip(rng, rates[user]), _flip(rng, rates[user])))

    return calls


def _flip(rng: Random, chance: float) -> float:
    return 1.0 if rng.random() < chance else 0.0


def _latency(rng: Random) -> float:
    typical = math.exp(rng.gauss(math.log(_TYPICAL_S), _SPREAD))
    return typical * _STRAGGLER_TIMES if rng.random() < _STRAGGLERS else typical
