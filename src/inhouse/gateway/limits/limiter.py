"""What the call path asks before, during and after a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from inhouse.core.clock import Clock
from inhouse.core.errors import Exhausted
from inhouse.core.log import Log
from inhouse.db.unit import Database, ReadUnit
from inhouse.gateway.keys import Key, KeyRing
from inhouse.gateway.limits import metrics
from inhouse.gateway.limits.account import KEY, SERVER, UPSTREAM, Account
from inhouse.gateway.limits.budget import (
    BY_DAY,
    BY_MINUTE,
    NOTHING,
    THROTTLE,
    WARN,
    Ceilings,
    Used,
    breach,
    near,
    shares,
    until_midnight,
)
from inhouse.gateway.limits.refusals import refusal, upstream_refusal
from inhouse.gateway.limits.report import (
    LimitLine,
    ceilings_of,
    holders,
    lines_of,
    sum_by_account,
)
from inhouse.gateway.mirror import Mirror
from inhouse.interactions.record import Spending
from inhouse.interactions.spent import totals
from inhouse.settings import LimitSettings

LONGEST_WAIT_S: Final = 10.0
SETTLES_S: Final = 10.0
"""How long calls that were not counted, because nothing was limited, may take to be recorded."""
_log = Log("inhouse.limits")


class Admission(NamedTuple):
    """A call may run, after ``delay_s`` (0 to 10). ``warnings`` are for the caller to see."""

    delay_s: float
    warnings: tuple[str, ...]


class Elsewhere(NamedTuple):
    """What the database says was used up on a day (its ordinal) beside what this process counted,
    by account."""

    day: int
    used: Mapping[str, Used]


class _Hold(NamedTuple):
    """What holds a call up: for how long, which limit, and whether the call may wait for it."""

    wait: float
    limit: str
    may_wait: bool


_FREE: Final = Admission(0.0, ())
_NO_WAIT: Final = (0.0, "")
_GO: Final = _Hold(0.0, "", may_wait=True)


class Limiter:
    """Admits calls and counts what they use up.

    ``process_id`` is what this process's recorder marks its rows of the table ``Spent`` with, drawn
    at its start. ``idle``: nothing is limited anywhere, so no call needs to ask. ``mirror`` is what
    a ``Poller`` polls, after the keys': what other processes spent today, and earlier ones of this
    machine; before the first call it is refreshed once.

    ``admit``, ``admit_try`` and ``spend`` belong to one event loop; the rest is for any thread.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        process_id: str,
        server: LimitSettings,
        upstreams: Mapping[str, LimitSettings],
        keys: KeyRing,
    ) -> None:
        self._clock = clock
        self._process_id = process_id
        self._keys = keys
        self._server = Account(SERVER, SERVER)
        self._by_key: dict[str, Account] = {}
        self._by_upstream: dict[str, Account] = {}
        self._day = 0
        self._uncounted: Elsewhere | None = None
        self._settled_at = 0.0
        self.idle = True
        self.configure(server=server, upstreams=upstreams)
        self.mirror: Mirror[Elsewhere] = Mirror(
            database, self._load, name="spent", initial=Elsewhere(0, {})
        )

    def configure(self, *, server: LimitSettings, upstreams: Mapping[str, LimitSettings]) -> None:
        """Put other limits in force, for the next call. What is used up stays used up; limits by
        the minute that are new begin with an empty minute."""
        self._declared = server, dict(upstreams)
        _limit(self._server, server)
        for name, limits in upstreams.items():
            account = self._by_upstream.setdefault(name, Account(UPSTREAM, name))
            _limit(account, limits)
        for name in self._by_upstream.keys() - upstreams.keys():
            _limit(self._by_upstream[name], None)
        if self._is_limited():
            self.idle = False

    def admit(self, key: Key | None) -> Admission:
        """Let a call in, and count it as a request of its key and of the server.

        Raises Exhausted with the seconds until it may be tried again: code ``limit-requests`` or
        ``limit-tokens`` for a minute's limit, ``budget-requests``, ``budget-tokens`` or
        ``budget-cost`` for a day's. A call that is refused counts for nobody.
        """
        now, day = self._clock.monotonic(), self._today()
        server, mine = self._server, None if key is None else self._account_of(key)
        warnings: list[str] = []
        its = self._examine(server, now, day, warnings)
        own = _GO if mine is None else self._examine(mine, now, day, warnings)
        delay = 0.0
        if its is not own:
            delay = self._wait_for([(its, server), (own, mine or server)], now, day)
        server.take(now, its.wait)
        if mine is not None:
            mine.take(now, own.wait)
        return Admission(delay, tuple(warnings)) if delay or warnings else _FREE

    def admit_try(self, upstream: str) -> None:
        """Count a try at an upstream, before it is made.

        Raises BackendError (code ``upstream-limit``) when a limit of the upstream is used up. Where
        it throttles and has room within 10 s, the error is retryable after that.
        """
        account = self._by_upstream.get(upstream)
        if account is None:
            return
        now, day = self._clock.monotonic(), self._today()
        hold = self._examine(account, now, day, [])
        if hold.wait:
            refused = self._refuse(account, hold, now, day)
            raise upstream_refusal(refused, may_wait=hold.may_wait)
        account.take(now, 0.0)

    def spend(self, key_id: str | None, spendings: Sequence[Spending]) -> None:
        """Count what a call used up, once it has ended, for its key, the server and upstreams. It
        counts for the day of the calls that were admitted last."""
        now, day = self._clock.monotonic(), self._day or self._today()
        tokens, cost = 0, 0.0
        for spent in spendings:
            tokens += spent.tokens
            cost += spent.cost
            if (upstream := self._by_upstream.get(spent.upstream)) is not None:
                upstream.spend(now, day, spent.tokens, spent.cost)
        self._server.spend(now, day, tokens, cost)
        if key_id is not None:
            account = self._by_key.get(key_id)
            if account is None:
                account = self._by_key[key_id] = Account(KEY, key_id, key_id)
            account.spend(now, day, tokens, cost)

    def lines(self) -> list[LimitLine]:
        """Every limit with what is used up of it: days over all processes, minutes of this one."""
        now, day = self._clock.monotonic(), self._today()
        found = []
        for holder in holders(*self._declared, self._keys.all()):
            account = self._find(holder.scope, holder.id or holder.name)
            account = account or Account(holder.scope, holder.name, holder.id)
            minute = account.used_in_minute(now)
            found += lines_of(holder, self._used(account, day), minute)
        return found

    def _find(self, scope: str, holder: str) -> Account | None:
        if scope == SERVER:
            return self._server
        return (self._by_key if scope == KEY else self._by_upstream).get(holder)

    def _today(self) -> int:
        return self._clock.now().toordinal()

    def _account_of(self, key: Key) -> Account:
        account = self._by_key.get(key.id)
        if account is None:
            account = self._by_key[key.id] = Account(KEY, key.name, key.id)
        if account.declared is not key.limits:
            account.name = key.name
            _limit(account, key.limits)
        return account

    def _examine(self, account: Account, now: float, day: int, warnings: list[str]) -> _Hold:
        """What holds a call up at one account; warnings are added to."""
        if account.day != day:
            self._day = day
            account.turn(day)
        ceilings = account.ceilings
        if ceilings is None:
            return _GO
        warns = ceilings.on_limit == WARN
        if ceilings.by_day:
            more = self._beside(account.id, day)
            requests, tokens = account.requests + more[0], account.tokens + more[1]
            cost = account.cost + more[2]
            if near(ceilings, requests, tokens, cost):
                used = Used(requests, tokens, cost)
                if not warns and (spent := breach(ceilings, used)):
                    return _Hold(until_midnight(self._clock.now()), spent, may_wait=False)
                self._warn_of_day(account, ceilings, used, warnings)
        wait, limit = account.wait(ceilings, now) if ceilings.by_minute else _NO_WAIT
        if not wait:
            return _GO
        if warns:
            self._warn(account, limit, f"{account.whose}: over {limit}", warnings)
            return _GO
        may_wait = ceilings.on_limit == THROTTLE and wait <= LONGEST_WAIT_S
        return _Hold(wait, limit, may_wait)

    def _beside(self, account: str, day: int) -> Used:
        """What was used up on a day beside what this process counted."""
        elsewhere = self.mirror.value
        return elsewhere.used.get(account, NOTHING) if elsewhere.day == day else NOTHING

    def _used(self, account: Account, day: int) -> Used:
        """What an account used up on a day, in all processes."""
        return account.used(day).plus(self._beside(account.id, day))

    def _warn_of_day(
        self, account: Account, ceilings: Ceilings, used: Used, warnings: list[str]
    ) -> None:
        with_this = used._replace(requests=used.requests + 1)
        for limit, amount, most in shares(ceilings, with_this):
            share = int(100 * amount / most + 1e-6)
            if share >= int(100 * ceilings.warn_at):
                text = f"{account.whose}: {share} % of {limit} used"
                self._warn(account, limit, text, warnings)

    def _warn(self, account: Account, limit: str, text: str, warnings: list[str]) -> None:
        warnings.append(text)
        metrics.warned_counter(account.scope, limit).inc()
        self._log_once(account, limit, "limit nearly used up")

    def _wait_for(self, holds: Sequence[tuple[_Hold, Account]], now: float, day: int) -> float:
        """Seconds until nothing holds the call up. Raises Exhausted for what holds longest, unless
        all of it can be waited for."""
        final = [(hold, account) for hold, account in holds if not hold.may_wait]
        if final:
            hold, account = max(final, key=lambda one: one[0].wait)
            raise self._refuse(account, hold, now, day)
        metrics.DELAYED.inc()
        return max(hold.wait for hold, _ in holds)

    def _refuse(self, account: Account, hold: _Hold, now: float, day: int) -> Exhausted:
        metrics.refused_counter(account.scope, hold.limit).inc()
        self._log_once(account, hold.limit, "limit used up")
        used, most = self._amount(account, hold.limit, now, day)
        return refusal(hold.limit, account.whose, used, most, hold.wait)

    def _amount(self, account: Account, limit: str, now: float, day: int) -> tuple[float, float]:
        """What is used up of a limit, and the limit."""
        ceilings = account.ceilings or Ceilings()
        used = dict(zip(BY_MINUTE, account.used_in_minute(now), strict=True))
        by_day = zip(BY_DAY, self._used(account, day), strict=True)
        return {**used, **dict(by_day)}[limit], getattr(ceilings, limit)

    def _log_once(self, account: Account, limit: str, event: str) -> None:
        """One line for a limit and day, however many calls meet it."""
        if (limit, event) not in account.said:
            account.said.add((limit, event))
            _log.warning(event, scope=account.scope, name=account.name, limit=limit)

    def _load(self, unit: ReadUnit) -> Elsewhere:
        """The copy that is polled. Limits that are set on a server without any find what it used up
        so far only in the database: that is read then, and until all of it is recorded."""
        now = self._clock.now()
        today, date = now.toordinal(), now.date().isoformat()
        if not self._is_limited():
            self.idle, self._uncounted = True, None
            return Elsewhere(today, {})
        if self._uncounted is None:
            self.idle = False
            self._settled_at = self._clock.monotonic() + SETTLES_S
        settles = self._clock.monotonic() < self._settled_at
        of_all = sum_by_account(totals(unit, date)) if settles else {}
        of_others = sum_by_account(totals(unit, date, without_process=self._process_id))
        if settles or self._uncounted is None:
            missing_now = self._count_missing(today, of_all, of_others)
            self._uncounted = _most(self._uncounted, missing_now)
        missing = self._uncounted.used if self._uncounted.day == today else {}
        both = of_others.keys() | missing.keys()
        return Elsewhere(
            today,
            {n: of_others.get(n, NOTHING).plus(missing.get(n, NOTHING)) for n in both},
        )

    def _count_missing(
        self, day: int, of_all: Mapping[str, Used], of_others: Mapping[str, Used]
    ) -> Elsewhere:
        """What this process recorded today and did not count, because nothing was limited. Never
        too much: what it counts is recorded later."""
        accounts = (self._server, *self._by_key.values(), *self._by_upstream.values())
        counted = {account.id: account.used(day) for account in accounts}
        own = {name: used.beyond(of_others.get(name, NOTHING)) for name, used in of_all.items()}
        return Elsewhere(
            day, {name: used.beyond(counted.get(name, NOTHING)) for name, used in own.items()}
        )

    def _is_limited(self) -> bool:
        accounts = (self._server, *self._by_upstream.values())
        return any(account.ceilings for account in accounts) or any(
            key.limits is not None and key.revoked_at is None for key in self._keys.all()
        )


def _most(before: Elsewhere | None, now: Elsewhere) -> Elsewhere:
    """The larger of what was found missing at two looks of a day."""
    if before is None or before.day != now.day:
        return now
    both = before.used.keys() | now.used.keys()
    most = {n: before.used.get(n, NOTHING).most(now.used.get(n, NOTHING)) for n in both}
    return Elsewhere(now.day, most)


def _limit(account: Account, limits: LimitSettings | None) -> None:
    account.declared, account.ceilings = limits, ceilings_of(limits)
