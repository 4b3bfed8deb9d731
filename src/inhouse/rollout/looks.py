"""Looking at a comparison a declared number of times, with one declared chance of a false winner.

A group-sequential test. The statistic of look k is Z_k, about normal with variance 1; with the
information I_k of all looks so far, Z_k sqrt(I_k) is a Brownian motion seen at I_1 < I_2 < ... A
look finds a winner when abs(Z_k) reaches its boundary c_k.

- How much of alpha may be used up by a look is a function of the share of the horizon that is in
  (Lan, DeMets 1983, Biometrika 70, 659), so that looks need not come at planned moments. The
  function is the one like O'Brien and Fleming (1979, Biometrics 35, 549): for each side
  2 (1 - Phi(z / sqrt(t))) with z the upper alpha/4 point, alpha/2 at t = 1.
- c_k uses up exactly what was added: P(no boundary reached before, abs(Z_k) >= c_k) =
  spent(t_k) - spent(t_{k-1}). The probabilities come from the recursion of Armitage, McPherson and
  Rowe (1969, JRSS A 132, 235): the density of the motion inside all boundaries so far, carried from
  look to look by a normal kernel (Jennison, Turnbull 2000, Group Sequential Methods, chapter 19),
  here on Gauss-Legendre nodes.
- difference +- c_k standard errors is the repeated confidence interval (Jennison, Turnbull 1989,
  JRSS B 51, 305): all looks together leave out the truth with a chance of at most alpha, also when
  one stops for another reason.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Final

from inhouse.core.errors import Invalid

MOST_LOOKS: Final = 20
MOST_OUTCOMES: Final = 10_000_000
FEWEST_PER_LOOK: Final = 40
"""Outcomes that the horizon must have for every look."""
_NODES: Final = 40
_FAR: Final = 9.0
"""Standard deviations beyond which nothing is."""
_WIDEST: Final = 40.0
_HALVINGS: Final = 60
_ROOT_2: Final = math.sqrt(2.0)
_ROOT_2_PI: Final = math.sqrt(2.0 * math.pi)


def spent(alpha: float, fraction: float) -> float:
    """How much of alpha, both sides together, may be used up when that fraction of the horizon is
    in; alpha from 1 on."""
    if fraction <= 0.0:
        return 0.0
    if fraction >= 1.0:
        return alpha
    z = -NormalDist().inv_cdf(alpha / 4.0)
    return 4.0 * _above(z / math.sqrt(fraction))


def boundaries(information: Sequence[float], used: Sequence[float]) -> list[float]:
    """The boundary of every look, for abs(Z).

    ``information`` rises from look to look, in any unit; ``used`` is the alpha used up with each.
    A look that may use up nothing has the boundary infinity.
    """
    motion, found, before = _Motion(), [], 0.0
    for now, total in zip(information, used, strict=True):
        motion.go_to(now)
        bound = motion.bound(total - before)
        motion.stay_within(bound)
        found.append(bound)
        before = max(before, total)
    return found


def crossings(
    information: Sequence[float], bounds: Sequence[float], drift: float = 0.0
) -> tuple[float, float]:
    """Chances that Z ever reaches its upper, and its lower boundary first; ``drift`` is the mean of
    Z over sqrt(information)."""
    motion, upper, lower = _Motion(drift), 0.0, 0.0
    for now, bound in zip(information, bounds, strict=True):
        motion.go_to(now)
        up, down = motion.beyond(bound)
        upper, lower = upper + up, lower + down
        motion.stay_within(bound)
    return upper, lower


def needed_horizon(
    *,
    effect: float,
    rate: float | None = None,
    spread: float | None = None,
    weight: float,
    looks: int,
    alpha: float,
    power: float,
) -> int:
    """Outcomes of both arms together with which a true difference of ``effect`` is found with the
    chance ``power``, looked at ``looks`` times at even distances; B has the share ``weight``.

    ``rate`` is that of A for outcomes of 0 and 1; B may be better or worse, whichever needs more.
    Otherwise ``spread`` is the standard deviation of one outcome. What n outcomes know of the
    difference is n / (variance of A / (1 - weight) + variance of B / weight). Raises Invalid
    (``experiment-plan``) without exactly one of the two, where that difference cannot be, or where
    it takes more than ``MOST_OUTCOMES``.
    """
    variance_a, variance_b = _variances(effect, rate, spread)
    each = variance_a / (1.0 - weight) + variance_b / weight
    needed = _drift(looks, alpha, power) ** 2 * each / (effect * effect)
    if not needed <= MOST_OUTCOMES:
        message = f"that takes more than {MOST_OUTCOMES:,} outcomes"
        raise Invalid(message, code="experiment-plan", hint="ask for a larger difference")
    return max(FEWEST_PER_LOOK * looks, math.ceil(needed))


def _variances(effect: float, rate: float | None, spread: float | None) -> tuple[float, float]:
    if spread is not None and rate is None:
        return spread * spread, spread * spread
    if rate is None or spread is not None:
        message = "say how outcomes vary: a rate or a spread"
        raise Invalid(message, code="experiment-plan", hint="--rate 0.9, or --spread 0.4")
    others = [other for other in (rate - effect, rate + effect) if 0.0 <= other <= 1.0]
    if not others:
        message = f"from {rate:g} no rate is {effect:g} away"
        raise Invalid(message, code="experiment-plan", hint="3 points are --effect 0.03")
    return rate * (1.0 - rate), max(other * (1.0 - other) for other in others)


@lru_cache(maxsize=64)
def _drift(looks: int, alpha: float, power: float) -> float:
    """The mean of the last Z with which its side is found with the chance ``power``."""
    even = [(k + 1) / looks for k in range(looks)]
    bounds = boundaries(even, [spent(alpha, fraction) for fraction in even])
    return _halve(0.0, _FAR, lambda drift: crossings(even, bounds, drift)[0] >= power)


class _Motion:
    """A Brownian motion that has stayed within every boundary so far: places and their mass."""

    def __init__(self, drift: float = 0.0) -> None:
        self._drift = drift
        self._now = 0.0
        self._step = 0.0
        self._places = [0.0]
        self._mass = [1.0]

    def go_to(self, now: float) -> None:
        """Ask about a later moment."""
        if now <= self._now:
            raise ValueError("information must rise from look to look")
        self._step = now - self._now
        self._now = now

    def beyond(self, bound: float) -> tuple[float, float]:
        """Mass at or above a boundary (in Z), and at or below its negative."""
        edge, sd = bound * math.sqrt(self._now), math.sqrt(self._step)
        means = [place + self._drift * self._step for place in self._places]
        pairs = list(zip(means, self._mass, strict=True))
        up = math.fsum(mass * _above((edge - mean) / sd) for mean, mass in pairs)
        down = math.fsum(mass * _above((edge + mean) / sd) for mean, mass in pairs)
        return up, down

    def bound(self, chance: float) -> float:
        """The boundary that is reached with that chance."""
        if chance <= 0.0:
            return math.inf
        return _halve(0.0, _WIDEST, lambda bound: sum(self.beyond(bound)) <= chance)

    def stay_within(self, bound: float) -> None:
        """Leave out what reached the boundary, and stand at the moment that was asked about."""
        root, sd = math.sqrt(self._now), math.sqrt(self._step)
        middle = self._drift * self._now
        low = max(-bound * root, middle - _FAR * root)
        high = min(bound * root, middle + _FAR * root)
        half, centre = (high - low) / 2.0, (high + low) / 2.0
        means = [place + self._drift * self._step for place in self._places]
        pairs = list(zip(means, self._mass, strict=True))
        places, masses = [], []
        for node, weight in _gauss_legendre(_NODES):
            place = centre + half * node
            density = sum(m * math.exp(-0.5 * ((place - mean) / sd) ** 2) for mean, m in pairs)
            places.append(place)
            masses.append(half * weight * density / (sd * _ROOT_2_PI))
        self._places, self._mass = places, masses


def _above(z: float) -> float:
    """P(Z >= z) of a standard normal Z, precise also where it is tiny."""
    return 0.5 * math.erfc(z / _ROOT_2)


def _halve(low: float, high: float, is_enough: Callable[[float], bool]) -> float:
    """The smallest value that is enough, where all above it are."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


@lru_cache(maxsize=4)
def _gauss_legendre(count: int) -> tuple[tuple[float, float], ...]:
    """Nodes and weights on [-1, 1]: the roots of the Legendre polynomial, by Newton's method."""
    found = []
    for k in range(count):
        x = math.cos(math.pi * (k + 0.75) / (count + 0.5))
        for _ in range(10):
            value, slope = _legendre(count, x)
            x -= value / slope
        _, slope = _legendre(count, x)
        found.append((x, 2.0 / ((1.0 - x * x) * slope * slope)))
    return tuple(found)


def _legendre(count: int, x: float) -> tuple[float, float]:
    """The polynomial of that degree at x, and its slope."""
    before, value = 1.0, x
    for k in range(2, count + 1):
        before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
    return value, count * (x * value - before) / (x * x - 1.0)
