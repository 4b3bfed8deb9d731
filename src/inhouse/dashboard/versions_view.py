"""What the pages of versions show: who is served by one, and what its files are. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from inhouse.core.states import VersionStatus
from inhouse.dashboard.tasks_view import shares
from inhouse.registry.routes import Route
from inhouse.registry.versions import Version
from inhouse.rollout.records import RolloutRecord

BADGES: Mapping[str, tuple[str, str]] = {
    "candidate": ("", "Candidate"),
    "active": ("good", "Active"),
    "deprecated": ("held", "Deprecated"),
    "archived": ("", "Archived"),
    "rejected": ("failed", "Rejected"),
}
"""The badge of each status: its state and its word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that happened to a version: ``word`` with who did it, why, and when."""

    at: datetime | str | None
    word: str
    by: str
    why: str


def served_percent(version: Version, route: Route) -> float:
    """How much of its task's units a version answers now, in per cent."""
    found = [s.percent for s in shares(route) if s.reference == version.reference]
    return sum(found)


def sentence(version: Version, route: Route, since: datetime | None) -> str:
    """Who is served by a version now."""
    percent = served_percent(version, route)
    if not percent:
        why = {
            VersionStatus.REJECTED: "it was rejected",
            VersionStatus.ARCHIVED: "it is archived",
        }.get(version.status, "no route sends calls to it")
        return f"Answers no calls: {why}."
    day = f" since {since:%-d %b %H:%M} UTC" if since else ""
    return f"Answers {percent:g} % of {version.task}’s units{day}."


def serving_since(version: Version, newest_first: Sequence[Route]) -> datetime | None:
    """Since when the version has had a share, without a break."""
    since = None
    for route in newest_first:
        if not served_percent(version, route):
            break
        since = route.created_at
    return since


def story(version: Version, oldest_first: Sequence[Route]) -> list[Moment]:
    """What happened to a version: made, given traffic, taken off, rejected."""
    found = [
        Moment(at=version.created_at, word="Registered", by=version.recipe, why="from a training")
    ]
    before = 0.0
    for route in oldest_first:
        now = served_percent(version, route)
        if now != before:
            word = f"{before:g} % → {now:g} %"
            found.append(Moment(at=route.created_at, word=word, by=route.actor, why=route.reason))
        before = now
    if version.rejected:
        no = version.rejected
        found.append(
            Moment(at=no.get("at"), word="Rejected", by=str(no.get("by")), why=str(no.get("why")))
        )
    return found


def why_not_archived(version: Version, standing: Sequence[str]) -> str:
    """Why a version cannot be archived now; "" when it can. ``standing``: its roles on routes."""
    if version.status is VersionStatus.ARCHIVED:
        return "It is archived already"
    return f"It serves: {'; '.join(standing)}" if standing else ""


def why_no_rollout(version: Version, route: Route, found: Sequence[RolloutRecord]) -> str:
    """Why no rollout of a version can be started now; "" when one can. ``found`` are those of its
    task."""
    if version.status in (VersionStatus.REJECTED, VersionStatus.ARCHIVED):
        return f"It is {version.status}"
    if version.reference == route.incumbent:
        return "It answers everything already"
    return "A rollout of the task runs" if any(not one.is_over for one in found) else ""


def facts(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a manifest says beside its files, as words and values; nested values are left out."""
    return [
        (name.replace("_", " ").capitalize(), ", ".join(map(str, value)))
        if isinstance(value, list)
        else (name.replace("_", " ").capitalize(), str(value))
        for name, value in metadata.items()
        if not isinstance(value, dict) and value not in (None, "", [])
    ]
