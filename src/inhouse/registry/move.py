"""Moving traffic: the verbs behind ``inhouse routes``.

Each one reads the route, works out the next revision and appends it by compare-and-set, in the unit
of the caller. Statuses of own versions follow: all traffic makes a version active, a rollback of an
active one leaves it a candidate no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from inhouse.core.errors import Conflict, Invalid
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.core.states import VERSIONS, VersionStatus
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.registry import routes, versions
from inhouse.registry.routes import FULL, Route
from inhouse.registry.versions import Version
from inhouse.tasks.spec import TaskSpec


def set_weight(
    unit: WriteUnit,
    spec: TaskSpec,
    *,
    candidate: str | None,
    percent: float,
    actor: str,
    reason: str,
    at: datetime,
    expect: int | None = None,
    salt: str | None = None,
) -> Route:
    """Send ``percent`` of a task's units to a candidate (None: the one the route has).

    Who meets a new candidate is drawn anew; ``salt`` says by what. Raises Invalid for a candidate
    that cannot answer the task or is the incumbent, Conflict for a rejected or archived one or when
    the route moved since ``expect``.
    """
    before = _seen(unit, spec, expect)
    target = candidate or before.candidate
    if target is None:
        raise Invalid("the route has no candidate yet", code="weight", hint="name one with --to")
    if target == before.incumbent:
        raise Invalid(
            f"{target} is the incumbent of {spec.name}",
            code="weight",
            hint="`inhouse routes set TASK --weight 0` sends it everything",
        )
    check_candidate(unit, spec, target, lock=True)
    kept = before.salt if target == before.candidate else routes.fresh_salt()
    after = replace(
        before,
        candidate=target,
        weight_bp=round(percent * 100),
        salt=salt or kept,
        chain=spec.chain,
        pin=None,
        actor=actor,
        reason=reason,
    )
    stored = routes.append(unit, after, expect=before.revision, at=at)
    if stored.weight_bp == FULL:
        _activate(unit, target, actor=actor, reason=reason, at=at)
    return stored


def promote(
    unit: WriteUnit,
    spec: TaskSpec,
    *,
    candidate: str,
    actor: str,
    reason: str,
    at: datetime,
    expect: int | None = None,
) -> Route:
    """The route's candidate becomes its incumbent and answers everything; the route has none then.

    Its version becomes active, the one that was the incumbent deprecated. Raises Conflict for a
    reference that is not the route's candidate, for a rejected or archived version, or when the
    route moved since ``expect``.
    """
    before = _seen(unit, spec, expect)
    if before.candidate != candidate:
        raise Conflict(f"{candidate} is not the candidate of {spec.name}", code="route-changed")
    _lock(unit, candidate)
    after = replace(
        before,
        incumbent=candidate,
        candidate=None,
        weight_bp=0,
        chain=spec.chain,
        actor=actor,
        reason=reason,
    )
    stored = routes.append(unit, after, expect=before.revision, at=at)
    _activate(unit, candidate, actor=actor, reason=reason, at=at)
    _deprecate(unit, before.incumbent, actor=actor, reason=reason, at=at)
    return stored


def send_back(
    unit: WriteUnit,
    spec: TaskSpec,
    *,
    actor: str,
    reason: str,
    at: datetime,
    reject: bool,
    expect: int | None = None,
) -> Route:
    """``rollback`` that also takes a candidate without traffic, and lets the statuses follow: the
    incumbent's version is active again, and with ``reject`` the candidate's is rejected, unless it
    was in use before (deprecated). Returns the route as it is then."""
    route = _seen(unit, spec, expect)
    incumbent, candidate = route.incumbent, route.candidate
    for reference in (candidate, incumbent):
        _lock(unit, reference)
    if route.weight_bp or route.pin is not None:
        route = rollback(unit, spec, actor=actor, reason=reason, at=at, expect=route.revision)
    _settle(unit, candidate, reject=reject, actor=actor, reason=reason, at=at)
    back = _version_of(unit, incumbent)
    if back is not None and back.status is VersionStatus.DEPRECATED:
        versions.set_status(unit, back.id, VersionStatus.ACTIVE, by=actor, why=reason, at=at)
    return route


def compare(
    unit: WriteUnit,
    spec: TaskSpec,
    *,
    a: str,
    b: str,
    percent: float,
    actor: str,
    reason: str,
    at: datetime,
    expect: int | None = None,
) -> Route:
    """Split a task between two references, neither of which need answer it now: ``percent`` of its
    units go to ``b``, the rest to ``a``, drawn anew. What answered until now is the first fallback,
    if it is an own version; general models stand there as the task declares them.

    Raises what ``set_weight`` raises; statuses stay as they are.
    """
    before = _seen(unit, spec, expect)
    for reference in sorted((a, b)):
        check_candidate(unit, spec, reference, lock=True)
    after = replace(
        before,
        incumbent=a,
        candidate=b,
        weight_bp=round(percent * 100),
        salt=routes.fresh_salt(),
        chain=tuple(dict.fromkeys((before.incumbent, *spec.chain))),
        pin=None,
        actor=actor,
        reason=reason,
    )
    return routes.append(unit, after, expect=before.revision, at=at)


def reseat(
    unit: WriteUnit,
    spec: TaskSpec,
    incumbent: str,
    *,
    actor: str,
    reason: str,
    at: datetime,
    expect: int | None = None,
    keep: bool = False,
) -> Route:
    """Make a reference the incumbent again after ``compare``, and send everything to it; with
    ``keep`` candidate, weight and pin stay as they are. Raises Conflict when the route moved since
    ``expect``."""
    before = _seen(unit, spec, expect)
    after = replace(before, incumbent=incumbent, chain=spec.chain, actor=actor, reason=reason)
    if not keep:
        after = replace(after, candidate=None, weight_bp=0, pin=None)
    return routes.append(unit, after, expect=before.revision, at=at)


def pin(
    unit: WriteUnit,
    spec: TaskSpec,
    reference: str | None,
    *,
    actor: str,
    reason: str,
    at: datetime,
    expect: int | None = None,
) -> Route:
    """Send every call of a task to one reference, or (None) lift the pin."""
    before = _seen(unit, spec, expect)
    if reference is not None:
        check_candidate(unit, spec, reference, lock=True)
    after = replace(before, pin=reference, actor=actor, reason=reason)
    return routes.append(unit, after, expect=before.revision, at=at)


def rollback(
    unit: WriteUnit,
    spec: TaskSpec,
    *,
    actor: str,
    reason: str,
    at: datetime,
    expect: int | None = None,
) -> Route:
    """Send everything to the incumbent, at once. The candidate stays named, with weight 0."""
    before = _seen(unit, spec, expect)
    if before.weight_bp == 0 and before.pin is None:
        raise Conflict(f"{spec.name} already answers by its incumbent", code="nothing-to-roll-back")
    after = replace(before, weight_bp=0, pin=None, actor=actor, reason=reason)
    return routes.append(unit, after, expect=before.revision, at=at)


def rollback_all(
    unit: WriteUnit, specs: Sequence[TaskSpec], *, actor: str, reason: str, at: datetime
) -> list[Route]:
    """Send every task back to its incumbent: the kill switch. Returns the routes that moved."""
    moved = []
    for spec in specs:
        before = _seen(unit, spec, None)
        if before.weight_bp or before.pin is not None:
            moved.append(rollback(unit, spec, actor=actor, reason=reason, at=at))
    return moved


def _seen(unit: WriteUnit, spec: TaskSpec, expect: int | None) -> Route:
    route = routes.current(unit, spec.name) or routes.implicit(spec.name, spec.chain)
    if expect is not None and route.revision != expect:
        raise Conflict(
            f"the route of {spec.name} is at revision {route.revision}, not {expect}",
            code="route-changed",
        )
    return route


def check_candidate(unit: ReadUnit, spec: TaskSpec, reference: str, *, lock: bool = False) -> None:
    """Raise Invalid for a reference that cannot answer the task, NotFound for a version that is not
    there, Conflict (``task-revision``, ``version-status``) for one that may not. ``lock``: its
    status stays until the unit ends."""
    parsed = parse_reference(reference)
    match parsed.kind:
        case ReferenceKind.TASK:
            raise Invalid(f"{reference} is a task, not a model", code="reference")
        case ReferenceKind.VERSION:
            _check_version(unit, spec, reference, lock=lock)
        case ReferenceKind.UPSTREAM | ReferenceKind.EMBEDDED:
            return


def _check_version(unit: ReadUnit, spec: TaskSpec, reference: str, *, lock: bool) -> None:
    parsed = parse_reference(reference)
    if parsed.name != spec.name:
        raise Invalid(f"{reference} answers {parsed.name}, not {spec.name}", code="reference")
    version = versions.get(unit, parsed.name, parsed.number, lock=lock)
    if version.task_revision != spec.revision:
        raise Conflict(
            f"{reference} was trained for another revision of {spec.name}",
            code="task-revision",
            hint="train a version for the task as it is declared now",
        )
    if version.status in (VersionStatus.REJECTED, VersionStatus.ARCHIVED):
        raise Conflict(
            f"{reference} is {version.status}",
            code="version-status",
            hint="a person may take it back with `inhouse versions restore`",
        )


def _activate(unit: WriteUnit, reference: str, *, actor: str, reason: str, at: datetime) -> None:
    parsed = parse_reference(reference)
    if parsed.kind is not ReferenceKind.VERSION:
        return
    for version in versions.list_versions(unit, parsed.name):
        if version.number == parsed.number:
            versions.set_status(unit, version.id, VersionStatus.ACTIVE, by=actor, why=reason, at=at)
        elif version.status is VersionStatus.ACTIVE:
            versions.set_status(
                unit, version.id, VersionStatus.DEPRECATED, by=actor, why=reason, at=at
            )


def _deprecate(unit: WriteUnit, reference: str, *, actor: str, reason: str, at: datetime) -> None:
    """A version that answered until now, where nothing of its task took its place."""
    version = _version_of(unit, reference)
    if version is not None and version.status is VersionStatus.ACTIVE:
        versions.set_status(unit, version.id, VersionStatus.DEPRECATED, by=actor, why=reason, at=at)


def _settle(
    unit: WriteUnit, reference: str | None, *, reject: bool, actor: str, reason: str, at: datetime
) -> None:
    """What becomes of a candidate that traffic was taken from."""
    version = _version_of(unit, reference)
    if version is None:
        return
    if reject and version.status in VERSIONS.before(VersionStatus.REJECTED):
        versions.set_status(unit, version.id, VersionStatus.REJECTED, by=actor, why=reason, at=at)
    elif version.status is VersionStatus.ACTIVE:
        versions.set_status(unit, version.id, VersionStatus.DEPRECATED, by=actor, why=reason, at=at)


def _lock(unit: WriteUnit, reference: str | None) -> None:
    """Versions before routes, always: two who move the same things wait for each other in turn."""
    _version_of(unit, reference, lock=True)


def _version_of(unit: ReadUnit, reference: str | None, *, lock: bool = False) -> Version | None:
    if not reference:
        return None
    parsed = parse_reference(reference)
    if parsed.kind is not ReferenceKind.VERSION:
        return None
    return versions.get(unit, parsed.name, parsed.number, lock=lock)
