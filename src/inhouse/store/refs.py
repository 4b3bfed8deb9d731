"""Names that move: ``current`` and others, each changed only by compare-and-swap on its number.

The file of a ref ends with the digest of the rest, so that no byte of it changes unseen. Every move
is in the journal before it is in the file: what a ref pointed at before, and what a damaged ref
pointed at, can be read there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inhouse.core.errors import Conflict, Corrupt, NotFound
from inhouse.core.hashing import canonical_json, digest_of
from inhouse.core.ids import new_id
from inhouse.store.durable import ensure_folder, locked, replace_file, sync
from inhouse.store.layout import VERSION, Layout
from inhouse.store.manifest import Digest, UtcTime, VersionName, explain
from inhouse.store.publish import Published

CURRENT = "current"


class Ref(BaseModel):
    """Where a name points. ``seq`` grows by one with every move; the first move makes it 1.
    ``checksum`` is the digest of the other fields; refs of older stores have none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: VersionName
    manifest_digest: Digest
    seq: int = Field(ge=1)
    actor: str = Field(min_length=1)
    reason: str
    at: UtcTime
    checksum: Digest | None = None

    def to_json(self) -> bytes:
        """What the file holds, byte for byte."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True))


def read_ref(layout: Layout, name: str, ref: str) -> Ref | None:
    """The ref as it stands, None when it was never set. Raises Corrupt when it cannot be read."""
    path = layout.ref(name, ref)
    try:
        data = path.read_bytes()
        found = Ref.model_validate_json(data)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise Corrupt(f"ref {ref} of {name} cannot be read: {explain(error)}", code="ref") from None
    actual = _checksum(found)
    if found.checksum is None or (found.checksum == actual and data == found.to_json()):
        return found
    raise Corrupt(
        f"ref {ref} of {name} is not as it was written: expected {found.checksum}, found {actual}",
        code="ref",
        hint="set it again: `inhouse store restore` or `inhouse store publish` does",
    )


def _checksum(ref: Ref) -> str:
    return f"sha256:{digest_of(ref.model_dump(mode='json', exclude={'checksum'}))}"


def ref_names(layout: Layout, name: str) -> list[str]:
    """The refs of a model, in order."""
    folder = layout.model(name) / "refs"
    return sorted(path.stem for path in folder.glob("*.json")) if folder.is_dir() else []


class Move(NamedTuple):
    """A move of a ref as the journal tells it."""

    seq: int
    version: str


def moves(layout: Layout, name: str, ref: str) -> list[Move]:
    """Where a ref has pointed, newest first."""
    found: dict[int, str] = {}
    for event in layout.events("ref"):
        seq, version = event.get("seq"), event.get("version")
        if (event.get("model"), event.get("ref")) != (name, ref):
            continue
        if isinstance(seq, int) and isinstance(version, str) and VERSION.match(version):
            found[seq] = version
    return [Move(seq, found[seq]) for seq in sorted(found, reverse=True)]


def set_ref(
    layout: Layout,
    ref: str,
    target: Published,
    *,
    expect_seq: int | None,
    actor: str,
    reason: str,
) -> int:
    """Point a ref at a version and return its new number; see ``ModelStore.set_ref``."""
    path = layout.ref(target.name, ref)
    ensure_folder(path.parent)
    with layout.in_use(), locked(layout.model(target.name) / "lock"):
        seq = _number(layout, target.name, ref)
        if expect_seq is not None and seq != expect_seq:
            raise Conflict(
                f"ref {ref} of {target.name} is at {seq}, not at {expect_seq}",
                code="ref-moved",
                hint="read the ref again and decide anew",
            )
        if not target.path.is_dir():
            raise NotFound(f"{target.name} has no version {target.version}", code="model-version")
        fields: dict[str, Any] = {
            "version": target.version,
            "manifest_digest": target.manifest_digest,
            "seq": seq + 1,
            "actor": actor,
            "reason": reason,
        }
        moved = Ref(at=layout.clock.now(), **fields)
        moved = moved.model_copy(update={"checksum": _checksum(moved)})
        layout.record("ref", model=target.name, ref=ref, **fields)
        replace_file(path, moved.to_json(), temporary=path.with_suffix(".tmp"))
        if ref == CURRENT:
            _relink(layout.model(target.name), target.version)
    return moved.seq


def _number(layout: Layout, name: str, ref: str) -> int:
    """How often a ref has moved. A damaged one is set aside; the journal knows its number."""
    try:
        before = read_ref(layout, name, ref)
    except Corrupt:
        ensure_folder(layout.quarantine)
        kept = layout.quarantine / f"{name}.{ref}-{new_id()}.ref"
        layout.ref(name, ref).replace(kept)
        layout.record("quarantine", model=name, ref=ref, kept=kept.name)
        return next((move.seq for move in moves(layout, name, ref)), 0)
    return before.seq if before is not None else 0


def _relink(model: Path, version: str) -> None:
    temporary = model / ".current"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(Path("versions") / version, target_is_directory=True)
    temporary.replace(model / CURRENT)
    sync(model)
