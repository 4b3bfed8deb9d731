"""What travels on the routes of the model store and of versions' lives, as pydantic models."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from inhouse.client.control import Answer, Reason, Request


class StoredVersion(Answer):
    """A version in the ModelStore. ``problem``: what is known to be wrong with it, else "".
    ``quarantined``: it is not served."""

    name: str
    version: str
    refs: list[str]
    kind: str
    license: str
    bytes: int
    manifest_digest: str
    problem: str
    quarantined: bool
    created_at: datetime | None


class StoreFinding(Answer):
    """Something that is not as it was published; ``message`` says all of it in words."""

    model: str
    version: str
    file: str
    problem: str
    expected: str
    actual: str
    message: str


class QuarantinedVersion(Answer):
    """A version that failed verification, and what was found then."""

    name: str
    version: str
    at: datetime
    findings: list[StoreFinding]


class StoreLease(Answer):
    """Who uses a version now, so that it is not pruned."""

    name: str
    version: str
    holder: str
    expires_at: datetime


class StoreReport(Answer):
    """The ModelStore as it stands; no weights were read for it. ``missing``: registered versions
    that it does not hold."""

    versions: list[StoredVersion]
    quarantined: list[QuarantinedVersion]
    missing: list[StoreFinding]
    leases: list[StoreLease]


class ScrubStart(Request):
    """Read the whole store again, at most ``rate_mb_s`` megabytes a second."""

    rate_mb_s: float = Field(50, ge=1, le=100_000)


class VersionMove(Request):
    """Put a version away, or take a rejected one back."""

    reason: Reason
