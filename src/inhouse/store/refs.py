"""Names that move: ``current`` and others, each changed only by compare-and-swap on its number."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inhouse.core.errors import Conflict, Corrupt
from inhouse.core.hashing import canonical_json
from inhouse.store.durable import ensure_folder, locked, replace_file, sync
from inhouse.store.layout import Layout
from inhouse.store.manifest import Digest, UtcTime, VersionName, explain
from inhouse.store.publish import Published

CURRENT = "current"


class Ref(BaseModel):
    """Where a name points. ``seq`` grows by one with every move; the first move makes it 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: VersionName
    manifest_digest: Digest
    seq: int = Field(ge=1)
    actor: str = Field(min_length=1)
    reason: str
    at: UtcTime


def read_ref(layout: Layout, name: str, ref: str) -> Ref | None:
    """The ref as it stands, None when it was never set. Raises Corrupt when it cannot be read."""
    path = layout.ref(name, ref)
    try:
        return Ref.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise Corrupt(f"ref {ref} of {name} cannot be read: {explain(error)}", code="ref") from None


def ref_names(layout: Layout, name: str) -> list[str]:
    """The refs of a model, in order."""
    folder = layout.model(name) / "refs"
    return sorted(path.stem for path in folder.glob("*.json")) if folder.is_dir() else []


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
    with locked(layout.model(target.name) / "lock"):
        before = read_ref(layout, target.name, ref)
        seq = before.seq if before is not None else 0
        if expect_seq is not None and seq != expect_seq:
            raise Conflict(
                f"ref {ref} of {target.name} is at {seq}, not at {expect_seq}",
                code="ref-moved",
                hint="read the ref again and decide anew",
            )
        moved = Ref(
            version=target.version,
            manifest_digest=target.manifest_digest,
            seq=seq + 1,
            actor=actor,
            reason=reason,
            at=layout.clock.now(),
        )
        data = canonical_json(moved.model_dump(mode="json"))
        replace_file(path, data, temporary=path.with_suffix(".tmp"))
        if ref == CURRENT:
            _relink(layout.model(target.name), target.version)
    layout.record("ref", model=target.name, ref=ref, **moved.model_dump(exclude={"at"}))
    return moved.seq


def _relink(model: Path, version: str) -> None:
    temporary = model / ".current"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(Path("versions") / version, target_is_directory=True)
    temporary.replace(model / CURRENT)
    sync(model)
