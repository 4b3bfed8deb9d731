"""What own models saved: their calls at the price of the upstream that they took the place of.

The price of a call is what the task's upstream was recorded to cost: tokens of prompt and answer at
the prices of then, averaged over its calls. Where it was never recorded with a price, today's
prices are taken. Where there is none either, the saving is unknown, which is not nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Final

from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.db.unit import ReadUnit
from inhouse.interactions.activity import NOT_COUNTED
from inhouse.interactions.counts import Sums, sums
from inhouse.interactions.filters import Span
from inhouse.interactions.hours import shifted
from inhouse.monitoring.queries import Window
from inhouse.settings import Price, UpstreamSettings
from inhouse.tasks.spec import TaskSpec

BACK: Final = timedelta(days=90)
"""How far back, from the end of a window, calls of upstreams tell what a call cost."""
_MILLION: Final = 1_000_000
_ANSWERED: Final = "answered"


class Basis(StrEnum):
    """Where a price is from. ``recorded``: costs as they were recorded. ``declared``: today's
    prices and recorded tokens. ``tokens``: today's prices and the tokens of the own model's calls,
    which hold no prompt: at least so much. ``unknown``: no price. ``none``: before, a model of this
    installation answered, which nobody charges for."""

    RECORDED = "recorded"
    DECLARED = "declared"
    TOKENS = "tokens"
    UNKNOWN = "unknown"
    NONE = "none"


BASES: Final = {
    Basis.RECORDED: "as recorded",
    Basis.DECLARED: "at today’s price",
    Basis.TOKENS: "at today’s price, at least",
    Basis.UNKNOWN: "its price is not known",
    Basis.NONE: "it runs on this machine and has no price",
}
"""What people read of a price's origin, after the upstream's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """A task whose own models answered ``calls`` in the window.

    ``upstream`` would have answered them, at ``per_call`` each, ``would_cost`` in all; they did
    cost ``cost``, and ``saved`` is the difference. None where the price is unknown.
    """

    task: str
    calls: int
    cost: float
    upstream: str | None
    basis: Basis
    per_call: float | None

    @property
    def would_cost(self) -> float | None:
        return None if self.per_call is None else self.per_call * self.calls

    @property
    def saved(self) -> float | None:
        return None if self.would_cost is None else self.would_cost - self.cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """Tasks with a call that an own model answered, by name. ``saved``: the sum of those known,
    None where none is; ``unknown``: tasks whose saving is not in it."""

    tasks: tuple[Saving, ...]

    @property
    def saved(self) -> float | None:
        known = [one.saved for one in self.tasks if one.saved is not None]
        return math.fsum(known) if known else None

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(one.task for one in self.tasks if one.saved is None)


def savings(
    unit: ReadUnit,
    window: Window,
    specs: Sequence[TaskSpec],
    upstreams: Mapping[str, UpstreamSettings],
    counts: Sequence[Sums] | None = None,
) -> Savings:
    """What own models saved in the whole hours that a window touches; in the currency of the
    declared prices. ``counts``: the calls of the window, where somebody has them already, told
    apart by ``task``, ``hosting`` and ``status`` at least."""
    own: dict[str, Sums] = {}
    for row in _counts(unit, window, ("task", "hosting", "status")) if counts is None else counts:
        if row.hosting == "own" and row.status == _ANSWERED and row.task:
            own[row.task] = _both(own[row.task], row) if row.task in own else row
    if not own:
        return Savings(tasks=())
    back = Window(since=min(window.since, shifted(window.until, -BACK)), until=window.until)
    general: dict[str, list[Sums]] = {}
    for row in _counts(unit, back, ("day", "task", "reference", "hosting", "status")):
        is_general = row.hosting != "own" and row.status == _ANSWERED and row.reference
        if is_general and row.task in own:
            general.setdefault(row.task, []).append(row)
    chains = {spec.name: spec.chain for spec in specs}
    found = [
        _saving(task, mine, general.get(task, ()), chains.get(task, ()), upstreams)
        for task, mine in sorted(own.items())
    ]
    return Savings(tasks=tuple(found))


def _counts(unit: ReadUnit, window: Window, by: Sequence[str]) -> list[Sums]:
    span = Span(since=window.since, until=window.until)
    return sums(unit, span, by=by, without_arms=NOT_COUNTED)


def _both(one: Sums, other: Sums) -> Sums:
    return replace(
        one,
        calls=one.calls + other.calls,
        cost=one.cost + other.cost,
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
    )


def _saving(
    task: str,
    own: Sums,
    general: Sequence[Sums],
    chain: Sequence[str],
    upstreams: Mapping[str, UpstreamSettings],
) -> Saving:
    upstream = _replaced(general, chain)
    basis, per_call = Basis.UNKNOWN, None
    if upstream is not None:
        basis, per_call = _price(upstream, own, general, upstreams)
    return Saving(
        task=task,
        calls=own.calls,
        cost=own.cost,
        upstream=upstream,
        basis=basis,
        per_call=per_call,
    )


def _replaced(general: Sequence[Sums], chain: Sequence[str]) -> str | None:
    """The general model that answered most; where none did, the first of the task's chain."""
    calls: dict[str, int] = {}
    for row in general:
        calls[row.reference] = calls.get(row.reference, 0) + row.calls
    if calls:
        return min(calls, key=lambda name: (-calls[name], name))
    return chain[0] if chain else None


def _price(
    upstream: str,
    own: Sums,
    general: Sequence[Sums],
    upstreams: Mapping[str, UpstreamSettings],
) -> tuple[Basis, float | None]:
    parsed = parse_reference(upstream)
    if parsed.kind is not ReferenceKind.UPSTREAM:
        return Basis.NONE, None
    its = [row for row in general if row.reference == upstream]
    paid = [row for row in its if row.cost > 0]
    if paid:
        return Basis.RECORDED, math.fsum(r.cost for r in paid) / sum(r.calls for r in paid)
    settings = upstreams.get(parsed.name)
    price = settings.prices.get(parsed.model) if settings else None
    if price is None:
        return Basis.UNKNOWN, None
    if its:
        return Basis.DECLARED, sum(_at(price, row) for row in its) / sum(r.calls for r in its)
    return Basis.TOKENS, _at(price, own) / own.calls


def _at(price: Price, row: Sums) -> float:
    paid = row.input_tokens * price.input_per_million
    return (paid + row.output_tokens * price.output_per_million) / _MILLION
