"""A second store with the same versions: the backup, and the way back.

Files are copied, never linked (a link would be damaged together with its original), and each copy
is read again before its version becomes visible. What the other side has already is not copied
again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from inhouse.core.errors import Corrupt, InhouseError
from inhouse.core.hashing import sha256_file
from inhouse.core.ids import new_id
from inhouse.store.blobs import put_blob
from inhouse.store.durable import copy_file, ensure_folder, link_or_copy, sync, sync_tree
from inhouse.store.examine import Digests, examine
from inhouse.store.layout import CHECKSUM, MANIFEST, Layout
from inhouse.store.publish import Progress, Published
from inhouse.store.quarantine import marked, unmark
from inhouse.store.refs import read_ref, ref_names, set_ref
from inhouse.store.resolve import Resolved
from inhouse.store.staging import Staging, stage


@dataclass(kw_only=True)
class Copied:
    """What was copied (``name@version``), which refs were set, what could not be, and why."""

    versions: list[str] = field(default_factory=list)
    refs: list[str] = field(default_factory=list)
    present: int = 0
    bytes: int = 0
    failures: list[str] = field(default_factory=list)


Open = Callable[[str, str], Resolved]
"""A verified version of the source: ``ModelStore.resolve``."""


def copy(
    source: Layout,
    open_version: Open,
    target: Layout,
    digests: Digests,
    *,
    repair: bool,
    actor: str,
    progress: Progress | None,
) -> Copied:
    """Bring the target's versions and refs up to the source's; what the target has more stays.

    Without ``repair`` (a backup) every ref follows, and a damaged version of the target is a
    failure. With it (a restore) a damaged version is replaced and its mark lifted, and only refs
    that are missing, unreadable or point at a damaged version are set.
    """
    done = Copied()
    pairs = [(name, version) for name in source.names() for version in source.versions(name)]
    for at, (name, version) in enumerate(pairs):
        try:
            with source.in_use():
                found = open_version(name, version)
                _bring(found, target, digests, done, repair=repair)
        except (InhouseError, OSError) as error:
            done.failures.append(getattr(error, "message", str(error)))
        if progress is not None:
            progress(f"{name}@{version}", at + 1, len(pairs))
    for name in source.names():
        _bring_refs(source, target, name, done, repair=repair, actor=actor)
    return done


def _bring(
    found: Resolved, target: Layout, digests: Digests, done: Copied, *, repair: bool
) -> None:
    name, version = found.name, found.version
    there = target.version(name, version)
    if there.is_dir():
        seen = examine(there, name, version, digests)
        if not seen.findings and seen.manifest_digest == found.manifest_digest:
            done.present += 1
            if repair:
                unmark(target, name, version)
            return
        if not repair:
            problem = seen.findings[0].message if seen.findings else f"{name}@{version} is another"
            raise Corrupt(f"the copy is damaged: {problem}", code="backup-damaged")
    with stage(target, name) as staging, target.in_use():
        tree = _tree(found, target, staging)
        read_back = examine(tree, name, version, digests)
        if read_back.findings:
            raise Corrupt(f"copying failed: {read_back.findings[0].message}", code="read-back")
        _install(target, name, tree, there)
    unmark(target, name, version)
    done.versions.append(f"{name}@{version}")
    done.bytes += sum(entry.size for entry in found.manifest.files)


def _tree(found: Resolved, target: Layout, staging: Staging) -> Path:
    """The version's folder, of the target's own blobs."""
    tree = staging.home / "version"
    entries = [(entry.path, entry.digest) for entry in found.manifest.files]
    for path, digest in entries:
        fresh = staging.home / "fresh"
        copy_file(found.path / path, fresh, scratch=staging.home)
        if (actual := f"sha256:{sha256_file(fresh)}") != digest:
            raise Corrupt(
                f"{found.name}@{found.version}: {path}: the copy is damaged: expected {digest}, "
                f"found {actual}",
                code="read-back",
            )
        blob = put_blob(target, fresh, digest, scratch=staging.home)
        fresh.unlink()
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(blob, tree / path, scratch=staging.home)
    for name in (MANIFEST, CHECKSUM):
        copy_file(found.path / name, tree / name, scratch=staging.home)
    spare = staging.home / MANIFEST
    copy_file(found.path / MANIFEST, spare, scratch=staging.home)
    put_blob(target, spare, found.manifest_digest, scratch=staging.home)
    sync_tree(tree)
    return tree


def _install(target: Layout, name: str, tree: Path, there: Path) -> None:
    """Make the copy visible; a damaged folder that is in its place moves to quarantine."""
    ensure_folder(there.parent)
    if there.is_dir():
        ensure_folder(target.quarantine)
        kept = target.quarantine / f"{name}@{there.name}-{new_id()}"
        target.record("quarantine", model=name, version=there.name, kept=kept.name)
        there.rename(kept)
    tree.rename(there)
    sync(there.parent)
    target.record("restore", model=name, version=there.name)


def _bring_refs(
    source: Layout, target: Layout, name: str, done: Copied, *, repair: bool, actor: str
) -> None:
    for ref in ref_names(source, name):
        try:
            wanted = read_ref(source, name, ref)
        except Corrupt as error:
            done.failures.append(error.message)
            continue
        held = _held(target, name, ref)
        if wanted is None or held == wanted.version or (repair and held):
            continue
        folder = target.version(name, wanted.version)
        if not folder.is_dir():
            done.failures.append(f"ref {ref} of {name}: {wanted.version} was not copied")
            continue
        published = Published(
            name=name,
            version=wanted.version,
            manifest_digest=wanted.manifest_digest,
            path=folder,
        )
        set_ref(target, ref, published, expect_seq=None, actor=actor, reason=wanted.reason)
        done.refs.append(f"{name}: {ref} -> {wanted.version}")


def _held(target: Layout, name: str, ref: str) -> str:
    """The version that a ref of the target points at; empty when it is missing or of no use."""
    try:
        found = read_ref(target, name, ref)
    except Corrupt:
        return ""
    if found is None or not target.version(name, found.version).is_dir():
        return ""
    return "" if marked(target, name, found.version) else found.version
