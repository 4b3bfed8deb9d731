"""From a trained artifact to a version in the ModelStore that says where it came from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inhouse import __version__
from inhouse.core.errors import Corrupt
from inhouse.store.manifest import Draft, Lineage, Manifest
from inhouse.store.resolve import Resolved
from inhouse.store.store import ModelStore
from inhouse.training.runs import Run
from inhouse.training.trainers.base import TrainedArtifact

_METRICS = "metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRun:
    """Where a run's artifact lies in the store, and its cross-validated figures."""

    name: str
    version: str
    manifest_digest: str
    metrics: Mapping[str, Any]


def publish(
    store: ModelStore,
    run: Run,
    base: Resolved,
    artifact: TrainedArtifact,
    check: Callable[[Path], None],
) -> PublishedRun:
    """Publish under the task's name; ``check(folder)`` raises to refuse the staged files."""
    with store.stage(run.task) as staging:
        for path in artifact.files.iterdir():
            shutil.move(path, staging.path / path.name)
        published = store.publish(
            staging, _draft(run, base, artifact), check=lambda folder, _: check(folder)
        )
    return PublishedRun(
        name=published.name,
        version=published.version,
        manifest_digest=published.manifest_digest,
        metrics=artifact.metrics,
    )


def find_published(store: ModelStore, run: Run) -> PublishedRun | None:
    """What an earlier attempt at this run published, whole, before its worker died, if anything."""
    for entry in store.list():
        if entry.name != run.task or entry.manifest is None:
            continue
        if entry.manifest.lineage.run_id == run.id:
            with suppress(Corrupt):
                return _found(store.resolve(entry.name, entry.version).manifest)
    return None


def _found(manifest: Manifest) -> PublishedRun:
    metrics = manifest.metadata[_METRICS]
    return PublishedRun(
        name=manifest.name,
        version=manifest.version,
        manifest_digest=manifest.digest,
        metrics=metrics if isinstance(metrics, Mapping) else {},
    )


def _draft(run: Run, base: Resolved, artifact: TrainedArtifact) -> Draft:
    return Draft.model_validate(
        {
            "kind": "encoder",
            "license": base.manifest.license,
            "variants": [asdict(variant) for variant in artifact.variants],
            "source": {"recipe": run.recipe, "settings": dict(run.settings), "base": base.name},
            "metadata": {**artifact.metadata, _METRICS: dict(artifact.metrics)},
            "lineage": Lineage(
                run_id=run.id,
                snapshot_hash=run.snapshot_hash,
                parents=(base.manifest_digest,),
                seed=run.settings.get("seed"),
                code_version=__version__,
            ),
        }
    )
