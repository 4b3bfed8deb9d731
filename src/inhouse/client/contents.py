"""What travels on the routes that look into snapshots and versions."""

from __future__ import annotations

from typing import Any

from inhouse.client.control import Answer


class ExampleOfSnapshot(Answer):
    """An example with its place in the snapshot."""

    position: int
    split: str
    input: Any
    target: dict[str, Any]
    weight: float
    quality: float
    group: str
    origin: dict[str, Any]


class ExamplePage(Answer):
    """Examples in the snapshot's order; ``next`` is the ``after`` of the page that follows, if any,
    ``total`` counts all that match."""

    items: list[ExampleOfSnapshot]
    next: int | None
    total: int


class VersionFiles(Answer):
    """What a version is made of: ``manifest`` as it was published, null with a ``problem`` where it
    cannot be trusted; ``bytes`` of all files. ``standing``: what it does on routes, one line
    each."""

    reference: str
    manifest: dict[str, Any] | None
    problem: str
    quarantined: bool
    bytes: int
    standing: list[str]
