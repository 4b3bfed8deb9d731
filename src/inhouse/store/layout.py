"""Where everything lies in a store.

store.json                       {layout, hash, id}; a folder without it is never touched
blobs/sha256/ab/<hex>            read-only files named by their content; manifests too
staging/<uuid>/owner.json        work in progress: files/ (the caller's), version/ (ours)
models/<name>/versions/<v>/      hard links to blobs, manifest.json, manifest.sha256
models/<name>/refs/<ref>.json    who a name means: version, manifest digest, seq, why, since when
models/<name>/current            symbolic link for people; derived, never read by the store
quarantine/<name>@<v>.json       the mark of a version that failed verification: what, when
quarantine/                      damaged blobs, refs and versions that were replaced, moved aside
leases/<id>.json                 who uses a version now, renewed while they do
trash/                           what is being deleted: renamed first, so that a kill tears nothing
lock                             shared by those who add or use, held alone by those who delete
journal.ndjson                   one line per publish, ref move, quarantine and prune, flushed
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from inhouse.core.clock import Clock
from inhouse.core.errors import Corrupt, Invalid
from inhouse.core.hashing import canonical_json
from inhouse.core.ids import new_id
from inhouse.core.references import NAME
from inhouse.store.durable import append_line, ensure_folder, link_or_copy, locked, write_new

VERSION = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\Z")
MANIFEST = "manifest.json"
CHECKSUM = "manifest.sha256"
_LAYOUT = 1
_HASH = "sha256"


def check_name(name: str) -> str:
    """The name of a model or of a ref, if it is one. Raises Invalid otherwise."""
    if not NAME.match(name):
        raise Invalid(
            f"{name!r} is not a name in the model store",
            code="store-name",
            hint="use 1 to 64 characters of a-z, 0-9, '.', '_' and '-', a letter or digit first",
        )
    return name


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one store, and its clock. Every name is checked before it is part of a path."""

    root: Path
    clock: Clock

    @property
    def blobs(self) -> Path:
        return self.root / "blobs" / _HASH

    @property
    def staging(self) -> Path:
        return self.root / "staging"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def leases(self) -> Path:
        return self.root / "leases"

    @property
    def trash(self) -> Path:
        return self.root / "trash"

    def in_use(self) -> AbstractContextManager[None]:
        """While held, nothing that is there is deleted. Several may hold it at once."""
        return locked(self.root / "lock", shared=True)

    def deleting(self) -> AbstractContextManager[None]:
        """While held, nobody publishes, moves a ref or begins to use a version."""
        return locked(self.root / "lock")

    def blob(self, digest: str) -> Path:
        """The blob of a digest ``sha256:<hex>``."""
        name = digest.removeprefix(f"{_HASH}:")
        return self.blobs / name[:2] / name

    def model(self, name: str) -> Path:
        return self.root / "models" / check_name(name)

    def version(self, name: str, version: str) -> Path:
        if not VERSION.match(version):
            raise Invalid(f"{version!r} is not a version in the model store", code="store-version")
        return self.model(name) / "versions" / version

    def ref(self, name: str, ref: str) -> Path:
        return self.model(name) / "refs" / f"{check_name(ref)}.json"

    def names(self) -> list[str]:
        """The models that have a published version, in order."""
        models = self.root / "models"
        found = [path.name for path in models.iterdir()] if models.is_dir() else []
        return sorted(name for name in found if NAME.match(name) and self.versions(name))

    def versions(self, name: str) -> list[str]:
        """The published versions of a model, oldest first; empty for a model that is not there."""
        folder = self.model(name) / "versions"
        found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(version for version in found if VERSION.match(version))

    def record(self, event: str, **fields: object) -> None:
        """Append an event to the journal."""
        line = {"at": self.clock.now().isoformat(), "event": event, **fields}
        append_line(self.root / "journal.ndjson", canonical_json(line))

    def events(self, event: str) -> Iterator[dict[str, Any]]:
        """The journal's events of one kind, oldest first; lines that a kill tore are left out."""
        try:
            file = (self.root / "journal.ndjson").open("rb")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                with suppress(msgspec.DecodeError):
                    found = msgspec.json.decode(line)
                    if isinstance(found, dict) and found.get("event") == event:
                        yield found


def open_layout(root: Path, clock: Clock) -> Layout:
    """Open the store in a folder, or make one in a folder that is missing or empty.

    Raises Invalid (``store-foreign``) for a folder that holds anything else, Invalid
    (``store-layout``) for a store of another layout, Corrupt when store.json cannot be read.
    """
    described = root / "store.json"
    if not described.exists():
        _create(root, described)
    try:
        found = msgspec.json.decode(described.read_bytes(), type=dict[str, object])
    except msgspec.DecodeError as error:
        raise Corrupt(f"{described} cannot be read: {error}", code="store-description") from None
    if (found.get("layout"), found.get("hash")) != (_LAYOUT, _HASH):
        raise Invalid(
            f"{root} has store layout {found.get('layout')} with {found.get('hash')}; "
            f"this version reads layout {_LAYOUT} with {_HASH}",
            code="store-layout",
            hint="open it with the version of Inhouse that wrote it",
        )
    return Layout(root, clock)


def _create(root: Path, described: Path) -> None:
    ensure_folder(root.absolute())
    foreign = [path.name for path in root.iterdir() if not path.name.startswith(".store-")]
    if foreign and not described.exists():
        raise Invalid(
            f"{root} is not empty and holds no store.json, so it is not a model store",
            code="store-foreign",
            hint="choose a folder that is missing or empty",
        )
    temporary = root / f".store-{new_id()}"
    write_new(temporary, canonical_json({"layout": _LAYOUT, "hash": _HASH, "id": new_id()}))
    link_or_copy(temporary, described, scratch=root)
    temporary.unlink(missing_ok=True)
