"""From a name to a folder of files that have just been compared with their checksums."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from inhouse.core.errors import Corrupt, NotFound
from inhouse.core.log import Log
from inhouse.store import metrics
from inhouse.store.examine import Digests, examine
from inhouse.store.layout import VERSION, Layout
from inhouse.store.manifest import Manifest
from inhouse.store.publish import Published
from inhouse.store.quarantine import marked, note
from inhouse.store.refs import CURRENT, moves, read_ref, ref_names

_log = Log(__name__)
_HINT = "`inhouse store restore` takes it from a backup; docs/runbooks/store-corruption.md has more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A verified version: ``path`` is the folder that an engine loads from and never writes to.
    ``instead_of`` is why it is an earlier one than ``current`` names; empty otherwise."""

    name: str
    version: str
    path: Path
    manifest: Manifest
    manifest_digest: str
    instead_of: str = ""

    @property
    def published(self) -> Published:
        """The same version as ``publish`` returned it."""
        return Published(
            name=self.name,
            version=self.version,
            manifest_digest=self.manifest_digest,
            path=self.path,
        )


def resolve(layout: Layout, digests: Digests, name: str, version_or_ref: str) -> Resolved:
    """Find and verify a version; see ``ModelStore.resolve``."""
    if not layout.versions(name):
        raise NotFound(
            f"the model store has no {name}",
            code="model-unknown",
            hint=f"it has: {', '.join(layout.names()) or 'none'}",
        )
    if VERSION.match(version_or_ref):
        return _verified(layout, digests, name, version_or_ref)
    try:
        return _by_ref(layout, digests, name, version_or_ref)
    except Corrupt as error:
        if version_or_ref != CURRENT:
            raise
        return _fall_back(layout, digests, name, error)


def _verified(layout: Layout, digests: Digests, name: str, version: str) -> Resolved:
    folder = layout.version(name, version)
    if mark := marked(layout, name, version):
        raise Corrupt(f"{mark.message}; in quarantine", code="model-corrupt", hint=_HINT)
    found = examine(folder, name, version, digests) if folder.is_dir() else None
    if found is None or (found.findings and not folder.is_dir()):
        raise NotFound(
            f"{name} has no version {version}",
            code="model-version",
            hint=f"it has: {', '.join(layout.versions(name)) or 'none'}",
        )
    if found.manifest is None or found.findings:
        mark = note(layout, found.findings)
        raise Corrupt(mark.message, code="model-corrupt", hint=_HINT)
    return Resolved(
        name=name,
        version=version,
        path=folder,
        manifest=found.manifest,
        manifest_digest=found.manifest_digest,
    )


def _by_ref(layout: Layout, digests: Digests, name: str, ref: str) -> Resolved:
    at = read_ref(layout, name, ref)
    if at is None:
        set_ones = ", ".join(ref_names(layout, name)) or "none"
        raise NotFound(
            f"{name} has no ref {ref!r}",
            code="model-ref",
            hint=f"set are: {set_ones}" if ref != CURRENT else "no version was released",
        )
    try:
        found = _verified(layout, digests, name, at.version)
    except NotFound as error:
        message = f"ref {ref} of {name} points at {at.version}, which is not there"
        raise Corrupt(message, code="model-corrupt", hint=error.hint) from None
    if at.manifest_digest != found.manifest_digest:
        raise Corrupt(
            f"{name}@{at.version}: manifest.json: digest: ref {ref} expects "
            f"{at.manifest_digest}, found {found.manifest_digest}",
            code="model-corrupt",
            hint=_HINT,
        )
    return found


def _fall_back(layout: Layout, digests: Digests, name: str, error: Corrupt) -> Resolved:
    """The version that ``current`` pointed at before and that verifies, the latest one first.
    Raises the error that was met when there is none."""
    damaged = _pointed_at(layout, name)
    for version in dict.fromkeys(move.version for move in moves(layout, name, CURRENT)):
        if version == damaged:
            continue
        with suppress(Corrupt, NotFound):
            found = _verified(layout, digests, name, version)
            metrics.FALLBACKS.labels(name).inc()
            _log.error("fell-back", model=name, version=version, reason=error.message)
            return replace(found, instead_of=error.message)
    raise error


def _pointed_at(layout: Layout, name: str) -> str:
    """The version that ``current`` names; empty when the ref itself is damaged: then what it named
    last may well be whole."""
    with suppress(Corrupt):
        at = read_ref(layout, name, CURRENT)
        return at.version if at is not None else ""
    return ""
