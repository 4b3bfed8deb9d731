"""Delete what nothing needs any more: versions, blobs, and what killed processes left behind.

Deleting is a rename into ``trash/`` and then the removal there; a kill in between leaves a store
that is whole, and trash that the next prune empties.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from inhouse.core.errors import Corrupt
from inhouse.core.ids import new_id
from inhouse.store import leases
from inhouse.store.durable import ensure_folder, sync
from inhouse.store.examine import read_manifest
from inhouse.store.layout import Layout
from inhouse.store.manifest import Manifest
from inhouse.store.quarantine import marked, unmark
from inhouse.store.refs import read_ref, ref_names
from inhouse.store.staging import leftovers

Needed = Callable[[str, str, Manifest | None], str]
"""Why a version (name, version, manifest if it can be read) is needed outside the store; empty when
it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may go: versions that ``needed`` does not name, that are older than ``grace`` and not
    among the newest ``keep`` of their model; blobs that nobody uses and that are older too."""

    needed: Needed
    grace: timedelta = timedelta(days=7)
    keep: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """Something that can go. ``name`` says it for people; ``bytes`` is what its removal frees (a
    version shares its files with blobs, which are counted for themselves)."""

    kind: Literal["version", "blob", "staging", "trash"]
    name: str
    path: Path
    bytes: int
    reason: str


def prune(layout: Layout, policy: Policy | None, *, dry_run: bool) -> list[Garbage]:
    """Delete garbage, or only list it; without a policy only what killed processes left."""
    found = [*_left_behind(layout)]
    versions = [*_versions(layout, policy)] if policy is not None else []
    blobs = [*_blobs(layout, policy, versions)] if policy is not None else []
    if dry_run:
        return [*found, *versions, *blobs]
    leases.remove_ended(layout)
    for each in found:
        shutil.rmtree(each.path, ignore_errors=True)
    if policy is not None:
        versions = [each for each in versions if _drop_version(layout, policy, each.path)]
        _empty_trash(layout)
        with layout.deleting():
            blobs = [*_blobs(layout, policy, [])]
            for each in blobs:
                each.path.unlink(missing_ok=True)
    return [*found, *versions, *blobs]


def _left_behind(layout: Layout) -> Iterator[Garbage]:
    for each in leftovers(layout):
        yield Garbage(
            kind="staging",
            name=each.path.name,
            path=each.path,
            bytes=each.bytes,
            reason=each.reason,
        )
    for path in sorted(layout.trash.iterdir()) if layout.trash.is_dir() else []:
        yield Garbage(
            kind="trash",
            name=path.name,
            path=path,
            bytes=_alone(path),
            reason="a prune was killed",
        )


def _versions(layout: Layout, policy: Policy) -> Iterator[Garbage]:
    for name in layout.names():
        for version in layout.versions(name):
            if not _kept(layout, policy, name, version):
                folder = layout.version(name, version)
                yield Garbage(
                    kind="version",
                    name=f"{name}@{version}",
                    path=folder,
                    bytes=_alone(folder),
                    reason="nothing refers to it",
                )


def _kept(layout: Layout, policy: Policy, name: str, version: str) -> str:
    """Why a version stays; empty when it may go."""
    if layout.clock.now() - _published_at(version) < policy.grace:
        return "within the grace"
    whole = [each for each in layout.versions(name) if not marked(layout, name, each)]
    if version in whole[max(0, len(whole) - policy.keep) :]:
        return f"one of the newest {policy.keep}"
    for ref in ref_names(layout, name):
        try:
            at = read_ref(layout, name, ref)
        except Corrupt:
            return f"ref {ref} cannot be read"
        if at is not None and at.version == version:
            return f"ref {ref}"
    for lease in leases.alive(layout):
        if (lease.name, lease.version) == (name, version):
            return f"in use: {lease.holder}"
    manifest = read_manifest(layout.version(name, version), name, version).manifest
    return policy.needed(name, version, manifest)


def _published_at(version: str) -> datetime:
    return datetime.strptime(version[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _drop_version(layout: Layout, policy: Policy, folder: Path) -> bool:
    """Move a version to the trash, if it may still go. From then on nobody finds it."""
    name, version = folder.parent.parent.name, folder.name
    ensure_folder(layout.trash)
    with layout.deleting():
        if not folder.is_dir() or _kept(layout, policy, name, version):
            return False
        with suppress(OSError):  # a disk that is full is a reason to prune
            layout.record("prune", model=name, version=version)
        folder.rename(layout.trash / f"{name}@{version}-{new_id()}")
        sync(folder.parent)
        sync(layout.trash)
        unmark(layout, name, version)
    return True


def _empty_trash(layout: Layout) -> None:
    for path in layout.trash.iterdir() if layout.trash.is_dir() else []:
        shutil.rmtree(path, ignore_errors=True)


def _blobs(layout: Layout, policy: Policy, dropped: list[Garbage]) -> Iterator[Garbage]:
    """Blobs that no version lists or links, apart from those that go."""
    leaving = {each.path for each in dropped}
    folders = [
        (name, version)
        for name in layout.names()
        for version in layout.versions(name)
        if layout.version(name, version) not in leaving
    ]
    listed = {digest for pair in folders for digest in _digests(layout, *pair)}
    linked = _links(folder for folder in leaving if folder.is_dir())
    before = (layout.clock.now() - policy.grace).timestamp()
    for path in sorted(layout.blobs.glob("*/*")):
        status = path.lstat()
        links = status.st_nlink - linked[status.st_ino]
        if f"sha256:{path.name}" not in listed and links == 1 and status.st_mtime < before:
            yield Garbage(
                kind="blob",
                name=f"sha256:{path.name}",
                path=path,
                bytes=status.st_size,
                reason="no version holds it",
            )


def _digests(layout: Layout, name: str, version: str) -> Iterator[str]:
    read = read_manifest(layout.version(name, version), name, version)
    if read.manifest is not None:
        yield read.manifest_digest
        yield from (entry.digest for entry in read.manifest.files)


def _links(folders: Iterator[Path]) -> Counter[int]:
    return Counter(
        path.lstat().st_ino for folder in folders for path in folder.rglob("*") if path.is_file()
    )


def _alone(folder: Path) -> int:
    """Bytes of the files that have no other name."""
    files = (path.lstat() for path in folder.rglob("*") if path.is_file())
    return sum(status.st_size for status in files if status.st_nlink == 1)
