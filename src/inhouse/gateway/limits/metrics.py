"""Prometheus series of limits. ``scope`` is server, key or upstream, ``limit`` a field of
``settings.LimitSettings``, ``name`` that of a key (not its id) or an upstream."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from prometheus_client import Counter, Gauge

from inhouse.gateway.limits.report import LimitLine

MOST_NAMES: Final = 1_000

REFUSED = Counter(
    "inhouse_limit_refused_total",
    "Calls, and tries at upstreams, refused because a limit is used up.",
    ("scope", "limit"),
)
DELAYED = Counter("inhouse_limit_delayed_total", "Calls that had to wait for a limit.")
WARNED = Counter(
    "inhouse_limit_warned_total",
    "Calls let in with a warning that a limit is nearly or wholly used up.",
    ("scope", "limit"),
)
USED_RATIO = Gauge(
    "inhouse_limit_used_ratio",
    "What is used up of a limit; above 1 where calls in flight or warnings let more through.",
    ("scope", "name", "limit"),
)

refused_counter = lru_cache(maxsize=64)(REFUSED.labels)
warned_counter = lru_cache(maxsize=64)(WARNED.labels)


def observe(lines: Iterable[LimitLine]) -> None:
    """Set the ratios to what is used up now: of keys of one name the highest, and of at most 1,000
    names, those nearest to their limits."""
    highest: dict[tuple[str, str, str], float] = {}
    names: set[tuple[str, str]] = set()
    for line in sorted(lines, key=lambda line: -(line.ratio or 0.0)):
        name = (line.scope, line.name)
        if name in names or len(names) < MOST_NAMES:
            names.add(name)
            highest.setdefault((*name, line.limit), line.ratio or 0.0)
    USED_RATIO.clear()
    for labels, ratio in highest.items():
        USED_RATIO.labels(*labels).set(ratio)
