"""Who answers: a pure function of the route, the unit, and what a caller or operator insists on."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

FULL_BP: Final = 10_000
_DRAW_BITS: Final = 64


class Arm(StrEnum):
    """Which side of a split a call belongs to. Pinned and forced calls belong to none."""

    INCUMBENT = "incumbent"
    CANDIDATE = "candidate"
    PINNED = "pinned"
    FORCED = "forced"


_INCUMBENT, _CANDIDATE, _PINNED, _FORCED = Arm


class Split(Protocol):
    """The part of a route that decides; see ``registry.routes.Route``."""

    @property
    def incumbent(self) -> str: ...

    @property
    def candidate(self) -> str | None: ...

    @property
    def weight_bp(self) -> int: ...

    @property
    def salt(self) -> str: ...

    @property
    def chain(self) -> tuple[str, ...]: ...

    @property
    def pin(self) -> str | None: ...


class Assignment(NamedTuple):
    """The arm of a call, the reference that stands for it, and every reference to try, in order.

    The first of ``chain`` is ``reference``; an answer by any other is a rescue.
    """

    arm: Arm
    reference: str
    chain: tuple[str, ...]


def draw(salt: str, unit_key: str) -> int:
    """A number in [0, 2^64) that depends on nothing but salt and unit: BLAKE2b of both."""
    digest = blake2b((salt + unit_key).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def assign(
    route: Split, unit_key: str, *, forced: str | None = None, pinned: str | None = None
) -> Assignment:
    """Choose the arm of one call.

    In this order: ``forced`` (the operator's setting for a test), ``pinned`` (the caller's wish),
    the route's own pin; each of them means that reference and no other, because a silent fallback
    would answer another question than the one that was asked. Otherwise the unit is the candidate's
    iff ``draw / 2^64 < weight``: the same unit always meets the same arm of a salt, and a higher
    weight only ever moves units to the candidate. Behind the candidate stand the incumbent and the
    chain, behind the incumbent the chain; no reference is tried twice.
    """
    if forced is not None:
        return Assignment(_FORCED, forced, (forced,))
    only = pinned if pinned is not None else route.pin
    if only is not None:
        return Assignment(_PINNED, only, (only,))
    incumbents = (route.incumbent, *route.chain)
    candidate = route.candidate
    if candidate is not None and _is_candidates(route, unit_key):
        return Assignment(_CANDIDATE, candidate, _distinct((candidate, *incumbents)))
    return Assignment(_INCUMBENT, route.incumbent, _distinct(incumbents))


def _is_candidates(route: Split, unit_key: str) -> bool:
    if route.weight_bp <= 0:
        return False
    return draw(route.salt, unit_key) * FULL_BP < route.weight_bp << _DRAW_BITS


@lru_cache(maxsize=1024)
def _distinct(references: tuple[str, ...]) -> tuple[str, ...]:
    """Each reference once, in order; a task without any general model has an empty incumbent."""
    return tuple(dict.fromkeys(reference for reference in references if reference))
