"""Versions that failed verification: marked once, refused until a person says that they are whole.

A mark is one small file beside the models. The damaged files stay where they are, for whoever looks
into it; nothing is deleted. While the mark stands no file of the version is read again, so that
calls of a damaged version cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from inhouse.core.errors import NotFound
from inhouse.core.hashing import canonical_json
from inhouse.core.ids import new_id
from inhouse.core.log import Log
from inhouse.core.references import NAME
from inhouse.store import metrics
from inhouse.store.durable import ensure_folder, replace_file, sync
from inhouse.store.examine import Finding
from inhouse.store.layout import VERSION, Layout

_log = Log(__name__)
_MOST_FINDINGS = 20
_TRANSIENT = frozenset({"unreadable"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A version in quarantine since ``at``; ``findings`` are the first 20 of what was wrong."""

    name: str
    version: str
    at: datetime
    findings: tuple[Finding, ...]

    @property
    def message(self) -> str:
        more = f" and {len(self.findings) - 1} more" if len(self.findings) > 1 else ""
        said = self.findings[0].message if self.findings else f"{self.name}@{self.version}"
        return said + more


def note(layout: Layout, findings: Sequence[Finding]) -> Mark:
    """Quarantine the version that the findings are about, unless it is already.

    What may pass by itself (a file that cannot be opened) is not marked, nor is anything where the
    mark cannot be written; the caller refuses the version either way.
    """
    first = findings[0]
    mark = Mark(
        name=first.model,
        version=first.version,
        at=layout.clock.now(),
        findings=tuple(findings[:_MOST_FINDINGS]),
    )
    metrics.FAILED.labels(mark.name).inc()
    details = {"model": mark.name, "version": mark.version, "reason": mark.message}
    if all(each.problem in _TRANSIENT for each in findings):
        _log.error("version-unreadable", **details)
        return mark
    path = layout.quarantine / f"{mark.name}@{mark.version}.json"
    try:
        ensure_folder(layout.quarantine)
        replace_file(path, canonical_json(mark), temporary=layout.quarantine / f".{new_id()}")
        layout.record("quarantine", **details)
    except OSError as error:
        _log.error("quarantine-not-written", error=str(error), **details)
    else:
        _log.error("version-quarantined", **details)
    return mark


def marked(layout: Layout, name: str, version: str) -> Mark | None:
    """The mark of a version, None for one that is not in quarantine."""
    path = layout.quarantine / f"{name}@{version}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Mark)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        finding = Finding(
            model=name,
            version=version,
            file=path.relative_to(layout.root).as_posix(),
            problem="unreadable",
            detail=str(error),
        )
        return Mark(name=name, version=version, at=layout.clock.now(), findings=(finding,))


def marks(layout: Layout) -> list[Mark]:
    """Every version in quarantine, by name, oldest first."""
    found = (marked(layout, *pair) for pair in _pairs(layout))
    return [mark for mark in found if mark is not None]


def _pairs(layout: Layout) -> list[tuple[str, str]]:
    folder = layout.quarantine
    stems = sorted(path.stem for path in folder.glob("*@*.json")) if folder.is_dir() else []
    pairs = [(name, version) for name, _, version in (stem.partition("@") for stem in stems)]
    return [
        (name, version) for name, version in pairs if NAME.match(name) and VERSION.match(version)
    ]


def lift(layout: Layout, name: str, version: str) -> None:
    """Remove the mark of a version. Raises NotFound (``quarantine``) when it has none."""
    if marked(layout, name, version) is None:
        raise NotFound(f"{name}@{version} is not in quarantine", code="quarantine")
    unmark(layout, name, version)
    layout.record("quarantine-lifted", model=name, version=version)
    _log.warning("quarantine-lifted", model=name, version=version)


def unmark(layout: Layout, name: str, version: str) -> None:
    """Remove the mark, if there is one, of a version that is whole again or gone."""
    if layout.quarantine.is_dir():
        (layout.quarantine / f"{name}@{version}.json").unlink(missing_ok=True)
        sync(layout.quarantine)
