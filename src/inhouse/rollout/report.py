"""Simulated runs in words and figures: lines for a terminal, a table for a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Final

from inhouse.core.hashing import digest_of
from inhouse.rollout.bars import BarResult, Run, Verdict, measure
from inhouse.rollout.scenarios import Scenario

FINGERPRINTED: Final = 100
"""Runs that one fingerprint stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What one rule did in one scenario.

    Counts are of runs. ``requests`` and ``candidate`` are medians over the runs that ended in the
    most frequent verdict, ``requests_p90`` the 90th percentile. ``bars`` are those of our rule, and
    ``fingerprints`` those of its runs, by which whoever plays some of them again knows that he had
    the same (``fingerprints_of``).
    """

    scenario: str
    truth: str
    rule: str
    runs: int
    promoted: int
    held: int
    rolled_back: int
    requests: float
    requests_p90: float
    candidate: float
    bars: tuple[BarResult, ...]
    fingerprints: tuple[str, ...]

    def share(self, count: int) -> float:
        return count / self.runs


def summarise(scenario: Scenario, rule: str, runs: Sequence[Run], *, judged: bool) -> Summary:
    """``runs`` must not be empty; ``judged``: the bars of the scenario are measured."""
    ends = {verdict: [run for run in runs if run.verdict is verdict] for verdict in Verdict}
    typical = max(ends.values(), key=len)
    requests = [run.requests for run in typical]
    return Summary(
        scenario=scenario.name,
        truth=scenario.truth,
        rule=rule,
        runs=len(runs),
        promoted=len(ends[Verdict.PROMOTED]),
        held=len(ends[Verdict.HELD]),
        rolled_back=len(ends[Verdict.ROLLED_BACK]),
        requests=median(requests),
        requests_p90=quantiles([*requests, requests[-1]], n=10, method="inclusive")[-1],
        candidate=median(run.candidate for run in typical),
        bars=tuple(measure(bar, runs) for bar in scenario.bars) if judged else (),
        fingerprints=fingerprints_of(runs) if judged else (),
    )


def fingerprints_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """16 hex characters of the SHA-256 of every ``FINGERPRINTED`` runs, in their order; the last
    ones may be fewer."""
    starts = range(0, len(runs), FINGERPRINTED)
    return tuple(digest_of(runs[start : start + FINGERPRINTED])[:16] for start in starts)


def lines(summary: Summary) -> list[str]:
    """For a terminal: one line of figures, and one for each bar."""
    ends = "  ".join(
        f"{word} {_percent(count, summary):>7}"
        for word, count in (
            ("promoted", summary.promoted),
            ("held", summary.held),
            ("rolled back", summary.rolled_back),
        )
    )
    after = f"after {summary.requests:,.0f} requests (p90 {summary.requests_p90:,.0f})"
    found = [f"{summary.scenario:<21} {summary.rule[:24]:<24} {ends}  {after}"]
    for bar in summary.bars:
        word = "REFUTED" if bar.refuted else "holds" if bar.proven else "not refuted"
        found.append(f"    {word:<11}  {bar.words}: missed by {bar.missed} of {bar.runs}")
    return found


def page(summaries: Iterable[Summary], *, master: int, command: str) -> str:
    """Two tables in Markdown: what every rule did, and our bars."""
    rows = list(summaries)
    text = [
        f"{_runs(rows)}; seeds 0 to n - 1 of the master seed {master}. Written by `{command}`.",
        "",
        "| truth | rule | promoted | held | rolled back | median requests (p90) | answers of the "
        "candidate, median |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    text += [
        f"| {row.truth} | {row.rule} | {_percent(row.promoted, row)} | {_percent(row.held, row)} | "
        f"{_percent(row.rolled_back, row)} | {row.requests:,.0f} ({row.requests_p90:,.0f}) | "
        f"{row.candidate:,.0f} |"
        for row in rows
    ]
    text += [
        "",
        "| truth | bar | runs | of them missed it | upper 99 % limit | |",
        "|---|---|---:|---:|---:|---|",
    ]
    text += [_bar(row, bar) for row in rows for bar in row.bars]
    return "\n".join(text)


def _runs(rows: list[Summary]) -> str:
    """How many runs a row has."""
    counts = sorted({row.runs for row in rows})
    if len(counts) == 1:
        return f"{counts[0]:,} runs of every row"
    return f"{counts[0]:,} to {counts[-1]:,} runs of a row"


def _bar(row: Summary, bar: BarResult) -> str:
    word = "**missed**" if bar.refuted else "holds" if bar.proven else "not refuted"
    share = bar.missed / bar.runs
    upper = f"{bar.upper:.2%}" if bar.false else ""
    missed = f"{bar.missed:,} ({share:.1%})"
    return f"| {row.truth} | {bar.words} | {bar.runs:,} | {missed} | {upper} | {word} |"


def _percent(count: int, summary: Summary) -> str:
    return f"{100 * summary.share(count):.1f} %"
