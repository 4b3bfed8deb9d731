"""Versions that should never have been: copies of a good one, damaged before they are published.

Their digests are right, for the damage was done before; so the ModelStore takes them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from inhouse.bootstrap import App
from inhouse.registry import versions
from inhouse.registry.versions import Version
from inhouse.store.manifest import Draft, Lineage, Manifest, VariantSpec

_SEED: Final = 5
_LENGTH: Final = 8
"""Bytes of the number that a safetensors file begins with: how long its header is."""
_FLOAT: Final = 4


def publish_bad(app: App, good: Version, damage: Callable[[Path], None]) -> str:
    """Publish a damaged copy of a version, and enter it as the task's next. Returns its
    reference."""
    found = app.store.resolve(good.artifact, good.store_version)
    with app.store.stage(good.artifact) as staging:
        for entry in found.manifest.files:
            target = staging.path / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found.path / entry.path, target)
        damage(staging.path)
        published = app.store.publish(staging, _draft(found.manifest, damage.__name__))
    with app.database.write() as unit:
        return versions.register(
            unit,
            task=good.task,
            task_revision=good.task_revision,
            artifact=published.name,
            store_version=published.version,
            manifest_digest=published.manifest_digest,
            recipe=good.recipe,
            run_id=None,
            snapshot_id=good.snapshot_id,
            at=app.clock.now(),
        ).reference


def shuffle_the_head(folder: Path) -> None:
    """Every weight of the head stays, none stays in its place."""
    path = folder / "head.safetensors"
    content = bytearray(path.read_bytes())
    data = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    place = msgspec.json.decode(content[_LENGTH:data])["weight"]["data_offsets"]
    begin, end = (data + offset for offset in place)
    weights = [bytes(content[at : at + _FLOAT]) for at in range(begin, end, _FLOAT)]
    Random(_SEED).shuffle(weights)
    content[begin:end] = b"".join(weights)
    path.write_bytes(content)


def break_the_graph(folder: Path) -> None:
    """The file of the encoder is no graph."""
    (folder / "encoder.onnx").write_bytes(b"this is no graph\n")


def _draft(manifest: Manifest, damage: str) -> Draft:
    return Draft(
        kind=manifest.kind,
        license=manifest.license,
        variants=tuple(
            VariantSpec(id=one.id, format=one.format, dtype=one.dtype, files=one.files)
            for one in manifest.variants
        ),
        default_variant=manifest.default_variant,
        source={"poison": damage},
        metadata=manifest.metadata,
        lineage=Lineage(parents=(manifest.digest,)),
    )
