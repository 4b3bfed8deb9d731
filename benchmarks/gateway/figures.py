"""From samples to figures: quantiles of one measurement, the range of several."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Figures = dict[str, float]
Summary = dict[str, Any]


def quantile_ms(values: Sequence[float], share: float) -> float:
    """A quantile of seconds, in ms; 0 when there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3, 4)


def quantiles_ms(values: Sequence[float], *, prefix: str = "") -> Figures:
    """p50, p95 and p99 of seconds, in ms."""
    return {f"{prefix}p{round(100 * q)}_ms": quantile_ms(values, q) for q in (0.5, 0.95, 0.99)}


def summarise(
    repetitions: Sequence[Mapping[str, float]], errors: Mapping[str, int] | None = None
) -> Summary:
    """Smallest, middle and largest of every figure over the repetitions."""
    found: Summary = {
        name: {
            "min": round(min(values), 4),
            "median": round(statistics.median(values), 4),
            "max": round(max(values), 4),
        }
        for name in repetitions[0]
        if (values := [one[name] for one in repetitions])
    }
    return {"repetitions": len(repetitions), **found, "errors": dict(errors or {})}


class Repetitions:
    """Figures of several repetitions, by name of what was measured, in the order of first use."""

    def __init__(self) -> None:
        self._figures: dict[str, list[Figures]] = {}
        self._errors: dict[str, Counter[str]] = {}

    def add(self, name: str, figures: Figures, errors: Mapping[str, int]) -> None:
        self._figures.setdefault(name, []).append(figures)
        self._errors.setdefault(name, Counter()).update(errors)

    def last(self, name: str) -> Figures:
        return self._figures[name][-1]

    def summary(self) -> dict[str, Summary]:
        return {name: summarise(all_, self._errors[name]) for name, all_ in self._figures.items()}
