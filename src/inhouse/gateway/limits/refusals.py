"""What a caller is told when something is used up."""

from __future__ import annotations

from typing import Final

from inhouse.core.errors import BackendError, Exhausted

_SLOWER: Final = "call again after Retry-After, or have the limit raised"
_TOMORROW: Final = "the day ends at 00:00 UTC; `inhouse limits` shows what is used up"


def refusal(limit: str, whose: str, used: float, ceiling: float, retry_after: float) -> Exhausted:
    """The error for a limit (a field of ``settings.LimitSettings``) that has no room."""
    spent, most = figure(used), figure(ceiling)
    match limit:
        case "requests_per_minute":
            return _exhausted(
                f"{whose}: {spent} of {most} requests in 60 s are used up",
                code="limit-requests",
                hint=_SLOWER,
                retry_after=retry_after,
            )
        case "tokens_per_minute":
            return _exhausted(
                f"{whose}: {spent} of {most} tokens in 60 s are used up",
                code="limit-tokens",
                hint=_SLOWER,
                retry_after=retry_after,
            )
        case "requests_per_day":
            return _exhausted(
                f"{whose}: {spent} of {most} requests of today are used up",
                code="budget-requests",
                hint=_TOMORROW,
                retry_after=retry_after,
            )
        case "tokens_per_day":
            return _exhausted(
                f"{whose}: {spent} of {most} tokens of today are used up",
                code="budget-tokens",
                hint=_TOMORROW,
                retry_after=retry_after,
            )
        case _:
            return _exhausted(
                f"{whose}: {spent} of {most} of today's cost are used up",
                code="budget-cost",
                hint=_TOMORROW,
                retry_after=retry_after,
            )


def upstream_refusal(refused: Exhausted, *, may_wait: bool) -> BackendError:
    """The same for one try at an upstream, so that the chain goes on to the next backend; with
    ``may_wait`` it may first ask the same one again after ``retry_after``."""
    return BackendError(
        f"not asked: {refused.message}",
        code="upstream-limit",
        hint="other models of the chain are asked; `inhouse limits` shows what is used up",
        retryable=may_wait,
        retry_after=refused.retry_after,
    )


def _exhausted(message: str, *, code: str, hint: str, retry_after: float) -> Exhausted:
    return Exhausted(message, code=code, hint=hint, retry_after=retry_after)


def figure(amount: float) -> str:
    """An amount as people write it: no exponent, no trailing zeros, at most six decimals."""
    return f"{amount:.6f}".rstrip("0").rstrip(".")
