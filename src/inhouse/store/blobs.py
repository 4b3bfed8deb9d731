"""Files named by their content: written once, read-only, shared by all versions that hold them."""

from __future__ import annotations

from pathlib import Path

from inhouse.core.hashing import sha256_file
from inhouse.core.ids import new_id
from inhouse.store.durable import copy_file, ensure_folder, link_or_copy, sync
from inhouse.store.layout import Layout


def put_blob(layout: Layout, source: Path, digest: str, *, scratch: Path) -> Path:
    """Keep a file under its digest (``sha256:<hex>``, computed by the caller) and return its blob.

    A blob that is already there is read again; a damaged one goes to quarantine and is replaced,
    so that publishing the same content heals the store for the new version. A source with other
    hard links is copied, because its owner can still change it.
    """
    target = layout.blob(digest)
    if target.exists():
        if f"sha256:{sha256_file(target)}" == digest:
            return target
        set_aside(layout, target, digest)
    ensure_folder(target.parent)
    if source.stat().st_nlink > 1:
        copy_file(source, target, scratch=scratch)
    else:
        source.chmod(0o444)
        sync(source)
        link_or_copy(source, target, scratch=scratch)
    sync(target.parent)
    return target


def set_aside(layout: Layout, blob: Path, digest: str) -> None:
    """Move a damaged blob to quarantine. Versions keep their links; the next publish of the same
    content writes it anew."""
    ensure_folder(layout.quarantine)
    kept = layout.quarantine / f"{blob.name}-{new_id()}"
    blob.replace(kept)
    layout.record("quarantine", digest=digest, kept=kept.name)
