"""What one holder of limits used up in this process: the server, a key or an upstream."""

from __future__ import annotations

from math import inf
from typing import Final

from inhouse.gateway.limits.budget import NOTHING, THROTTLE, WARN, Ceilings, Used
from inhouse.gateway.limits.window import SPAN_S, Window

SERVER: Final = "server"
KEY: Final = "key"
UPSTREAM: Final = "upstream"
_SMOOTH: Final = 16
"""Tokens of a call are averaged over about so many."""


class Account:
    """Counts of one holder.

    ``ceilings`` is None when nothing is limited; ``declared`` is what they were made from. Days are
    numbered (``date.toordinal``); ``requests``, ``tokens`` and ``cost`` are those of ``day``, and
    ``said`` is what was logged on it.

    ``take`` and ``spend`` belong to one thread.
    """

    __slots__ = (
        *("scope", "name", "id", "ceilings", "declared", "day", "said"),
        *("requests", "tokens", "cost"),
        *("_minute_requests", "_minute_tokens", "_tokens_per_call", "_due"),
    )

    def __init__(self, scope: str, name: str, holder: str = "") -> None:
        self.scope = scope
        self.name = name
        self.id = account_id(scope, holder or name)
        self.ceilings: Ceilings | None = None
        self.declared: object = None
        self.day = 0
        self.said: set[tuple[str, str]] = set()
        self.requests, self.tokens, self.cost = 0, 0, 0.0
        self._minute_requests, self._minute_tokens = Window(), Window()
        self._tokens_per_call, self._due = 0.0, 0.0

    @property
    def whose(self) -> str:
        """The holder, for people."""
        return "this server" if self.scope == SERVER else f"{self.scope} {self.name}"

    def used(self, day: int) -> Used:
        """What calls of this process used up on a day: the current one, or nothing."""
        return Used(self.requests, self.tokens, self.cost) if day == self.day else NOTHING

    def used_in_minute(self, now: float) -> tuple[int, int]:
        """Requests and tokens of the last 60 seconds, as far as they are limited."""
        return self._minute_requests.used(now), self._minute_tokens.used(now)

    def turn(self, day: int) -> None:
        """Begin a day: nothing is used up yet."""
        self.day = day
        self.requests, self.tokens, self.cost = 0, 0, 0.0
        self.said.clear()

    def wait(self, ceilings: Ceilings, now: float) -> tuple[float, str]:
        """Seconds until the limits by the minute have room for a call, and which one says so.

        Where calls wait for tokens, each waits for the one before it and for as long as the average
        call's tokens take at the limit's rate: how many a call will need is not known before.
        """
        wait, limit = 0.0, "requests_per_minute"
        if ceilings.requests_per_minute < inf:
            wait = self._minute_requests.wait(now, ceilings.requests_per_minute)
        if ceilings.tokens_per_minute < inf:
            other = self._minute_tokens.wait(now, ceilings.tokens_per_minute)
            if ceilings.on_limit == THROTTLE and self._due > now:
                pace = self._tokens_per_call * SPAN_S / ceilings.tokens_per_minute
                other = max(other, self._due + pace - now)
            if other > wait:
                wait, limit = other, "tokens_per_minute"
        return wait, limit

    def take(self, now: float, wait: float) -> None:
        """Count one call that starts after a wait."""
        self.requests += 1
        ceilings = self.ceilings
        if ceilings is None or not ceilings.by_minute:
            return
        if ceilings.on_limit == WARN:
            wait = 0.0
        if ceilings.requests_per_minute < inf:
            self._minute_requests.add(now + wait, 1)
        if wait and ceilings.tokens_per_minute < inf:
            self._due = now + wait

    def spend(self, now: float, day: int, tokens: int, cost: float) -> None:
        """Count what a call used up."""
        if self.day != day:
            self.turn(day)
        self.tokens += tokens
        self.cost += cost
        ceilings = self.ceilings
        if tokens and ceilings is not None and ceilings.tokens_per_minute < inf:
            self._minute_tokens.add(now, tokens)
            self._tokens_per_call += (tokens - self._tokens_per_call) / _SMOOTH


def account_id(scope: str, holder: str) -> str:
    """The name of an account among all accounts; ``holder``: id of a key, name of an upstream."""
    return scope if scope == SERVER else f"{scope}:{holder}"
