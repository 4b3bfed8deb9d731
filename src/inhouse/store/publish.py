"""Staged files become a version: checked, hashed, linked, read back, then visible in one rename."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inhouse.core.errors import Conflict, Corrupt, Invalid
from inhouse.core.hashing import sha256_file
from inhouse.store.blobs import put_blob
from inhouse.store.durable import ensure_folder, link_or_copy, sync, sync_tree, write_new
from inhouse.store.examine import Digests, checksum_line, examine
from inhouse.store.formats import media_type_of
from inhouse.store.layout import CHECKSUM, MANIFEST, Layout
from inhouse.store.manifest import Draft, FileEntry, Manifest, check_path, compose
from inhouse.store.staging import Staging

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the bytes done so far and the bytes in all (0: not known)."""

Check = Callable[[Path, Manifest], None]
"""The publisher's own test of the staged files (a smoke load, parity); it raises to refuse them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A version in the store; ``path`` is its folder, ``manifest_digest`` ``sha256:<hex>``."""

    name: str
    version: str
    manifest_digest: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Staged:
    path: Path
    entry: FileEntry
    state: tuple[int, int, int]


def publish(
    layout: Layout,
    digests: Digests,
    staging: Staging,
    draft: Draft,
    *,
    check: Check | None,
    progress: Progress | None,
) -> Published:
    """Publish what lies in ``staging``; see ``ModelStore.publish``."""
    staged = _survey(staging.path, progress)
    manifest = compose(draft, staging.name, layout.clock.now(), [file.entry for file in staged])
    if check is not None:
        check(staging.path, manifest)
    _refuse_changes(staged)
    target = layout.version(manifest.name, manifest.version)
    with layout.in_use():
        tree = _assemble(layout, staging, staged, manifest)
        shutil.rmtree(staging.path)
        found = examine(tree, manifest.name, manifest.version, digests)
        if found.findings:
            raise Corrupt(f"reading back failed: {found.findings[0].message}", code="read-back")
        is_new = _install(tree, target, manifest)
    if is_new:
        layout.record(
            "publish",
            model=manifest.name,
            version=manifest.version,
            manifest_digest=manifest.digest,
        )
    staging.discard()
    return Published(
        name=manifest.name,
        version=manifest.version,
        manifest_digest=manifest.digest,
        path=target,
    )


def _survey(folder: Path, progress: Progress | None) -> list[_Staged]:
    """Every staged file, allowed and hashed. Raises Invalid for the first that is not allowed."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    if not paths:
        raise Invalid("there is no file to publish", code="staging-empty")
    types = {path: _allowed(folder, path) for path in paths}
    total = sum(path.stat().st_size for path in paths)
    staged: list[_Staged] = []
    done = 0
    for path in paths:
        staged.append(_measure(folder, path, types[path]))
        done += staged[-1].entry.size
        if progress is not None:
            progress("hash", done, total)
    return staged


def _allowed(folder: Path, path: Path) -> str:
    relative = path.relative_to(folder).as_posix()
    try:
        check_path(relative)
    except ValueError as error:
        raise Invalid(str(error), code="file-path") from None
    if path.is_symlink() or not path.is_file():
        raise Invalid(f"{relative} is not a regular file", code="file-path")
    return media_type_of(path)


def _measure(folder: Path, path: Path, media_type: str) -> _Staged:
    state = _state(path)
    entry = FileEntry(
        path=path.relative_to(folder).as_posix(),
        digest=f"sha256:{sha256_file(path)}",
        size=state[1],
        media_type=media_type,
    )
    return _Staged(path=path, entry=entry, state=state)


def _state(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _refuse_changes(staged: list[_Staged]) -> None:
    for file in staged:
        if not file.path.exists() or _state(file.path) != file.state:
            raise Conflict(
                f"{file.entry.path} changed while it was being published", code="staging-changed"
            )


def _assemble(layout: Layout, staging: Staging, staged: list[_Staged], manifest: Manifest) -> Path:
    """The version's folder, flushed, still inside the staging folder."""
    tree = staging.home / "version"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    for file in staged:
        blob = put_blob(layout, file.path, file.entry.digest, scratch=staging.home)
        (tree / file.entry.path).parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(blob, tree / file.entry.path, scratch=staging.home)
    data = manifest.to_json()
    write_new(tree / MANIFEST, data)
    write_new(tree / CHECKSUM, checksum_line(hashlib.sha256(data).hexdigest()))
    spare = staging.home / MANIFEST
    spare.unlink(missing_ok=True)
    write_new(spare, data)
    put_blob(layout, spare, manifest.digest, scratch=staging.home)
    sync_tree(tree)
    return tree


def _install(tree: Path, target: Path, manifest: Manifest) -> bool:
    """Make the version visible. False when the very same version is there already."""
    ensure_folder(target.parent)
    try:
        tree.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        if (target / MANIFEST).read_bytes() != manifest.to_json():
            raise Conflict(
                f"{manifest.name}@{manifest.version} exists with other content",
                code="version-taken",
                hint="publish again in a second",
            ) from None
        return False
    sync(target.parent)
    return True
