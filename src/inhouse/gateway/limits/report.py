"""What is used up of every limit, for people: from the database, or with what a process knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, Protocol

from inhouse.gateway.keys import Key
from inhouse.gateway.limits.account import KEY, SERVER, UPSTREAM, account_id
from inhouse.gateway.limits.budget import BY_MINUTE, NOTHING, Ceilings, Used, shares
from inhouse.settings import LimitSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitLine:
    """One limit of one holder. ``scope`` is server, key or upstream; ``id`` that of a key, and ""
    otherwise. ``used`` is None where it is not known: limits by the minute are those of a process.
    """

    scope: str
    name: str
    id: str
    limit: str
    most: float
    used: float | None
    ratio: float | None
    on_limit: str


class Holder(NamedTuple):
    """Who has limits."""

    scope: str
    name: str
    id: str
    limits: Ceilings


class SpentAmount(Protocol):
    """A row of ``interactions.spent.totals``."""

    @property
    def key_id(self) -> str: ...
    @property
    def upstream(self) -> str: ...
    @property
    def requests(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def cost(self) -> float: ...


def ceilings_of(limits: LimitSettings | None) -> Ceilings | None:
    """The limits of settings or of a key; None when they limit nothing."""
    if limits is None:
        return None
    given = limits.model_dump(exclude_none=True)
    ceilings = Ceilings(**given)
    return ceilings if ceilings.by_minute or ceilings.by_day else None


def holders(
    server: LimitSettings, upstreams: Mapping[str, LimitSettings], keys: Iterable[Key]
) -> list[Holder]:
    """Everybody who has limits: the server, upstreams, keys that are not revoked."""
    declared = [
        (SERVER, SERVER, "", server),
        *((UPSTREAM, name, "", limits) for name, limits in upstreams.items()),
        *((KEY, key.name, key.id, key.limits) for key in keys if key.revoked_at is None),
    ]
    found = ((scope, name, id_, ceilings_of(limits)) for scope, name, id_, limits in declared)
    return [Holder(scope, name, id_, limits) for scope, name, id_, limits in found if limits]


def sum_by_account(rows: Iterable[SpentAmount]) -> dict[str, Used]:
    """Rows of the table ``Spent`` by the accounts that they count for."""
    found: dict[str, Used] = {}
    for row in rows:
        tries = Used(row.requests, row.tokens, row.cost)
        calls = Used(0, row.tokens, row.cost) if row.upstream else tries
        _add(found, SERVER, calls)
        if row.key_id:
            _add(found, account_id(KEY, row.key_id), calls)
        if row.upstream:
            _add(found, account_id(UPSTREAM, row.upstream), tries)
    return found


def _add(found: dict[str, Used], account: str, used: Used) -> None:
    found[account] = found.get(account, NOTHING).plus(used)


def lines_of(holder: Holder, used: Used, minute: tuple[int, int] | None) -> list[LimitLine]:
    """A line for every limit of a holder. ``minute``: requests and tokens of the last 60 s."""
    limits = holder.limits
    by_minute = (limits.requests_per_minute, limits.tokens_per_minute)
    amounts: list[tuple[str, float | None, float]] = [
        (name, None if minute is None else minute[place], by_minute[place])
        for place, name in enumerate(BY_MINUTE)
    ]
    return [
        LimitLine(
            scope=holder.scope,
            name=holder.name,
            id=holder.id,
            limit=name,
            most=most,
            used=amount,
            ratio=None if amount is None else amount / most,
            on_limit=limits.on_limit,
        )
        for name, amount, most in (*amounts, *shares(limits, used))
        if most < inf
    ]


def account_of(holder: Holder) -> str:
    """The account of a holder."""
    return account_id(holder.scope, holder.id or holder.name)


def recorded_lines(found: Iterable[Holder], rows: Iterable[SpentAmount]) -> list[LimitLine]:
    """Every limit with what the database says is used up of it today, by all processes."""
    used = sum_by_account(rows)
    return [
        line
        for holder in found
        for line in lines_of(holder, used.get(account_of(holder), NOTHING), None)
    ]
