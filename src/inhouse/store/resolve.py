"""From a name to a folder of files that have just been compared with their checksums."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inhouse.core.errors import Corrupt, NotFound
from inhouse.store.examine import Digests, examine
from inhouse.store.layout import VERSION, Layout
from inhouse.store.manifest import Manifest
from inhouse.store.publish import Published
from inhouse.store.refs import CURRENT, read_ref, ref_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A verified version: ``path`` is the folder that an engine loads from and never writes to."""

    name: str
    version: str
    path: Path
    manifest: Manifest
    manifest_digest: str

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
    version, noted = _find(layout, name, version_or_ref)
    folder = layout.version(name, version)
    if not folder.is_dir():
        raise NotFound(
            f"{name} has no version {version}",
            code="model-version",
            hint=f"it has: {', '.join(layout.versions(name)) or 'none'}",
        )
    found = examine(folder, name, version, digests)
    if found.manifest is None or found.findings:
        more = f" and {len(found.findings) - 1} more" if len(found.findings) > 1 else ""
        raise Corrupt(found.findings[0].message + more, code="model-corrupt", hint=_HINT)
    if noted and noted != found.manifest_digest:
        raise Corrupt(
            f"{name}@{version}: manifest.json: digest: ref {version_or_ref} expects {noted}, "
            f"found {found.manifest_digest}",
            code="model-corrupt",
            hint=_HINT,
        )
    return Resolved(
        name=name,
        version=version,
        path=folder,
        manifest=found.manifest,
        manifest_digest=found.manifest_digest,
    )


_HINT = "publish it again, or move the ref to a version that `inhouse store verify` finds whole"


def _find(layout: Layout, name: str, version_or_ref: str) -> tuple[str, str]:
    """The version, and the manifest digest that a ref noted (empty for a version)."""
    if not layout.versions(name):
        raise NotFound(
            f"the model store has no {name}",
            code="model-unknown",
            hint=f"it has: {', '.join(layout.names()) or 'none'}",
        )
    if VERSION.match(version_or_ref):
        return version_or_ref, ""
    ref = read_ref(layout, name, version_or_ref)
    if ref is None:
        set_ones = ", ".join(ref_names(layout, name)) or "none"
        raise NotFound(
            f"{name} has no ref {version_or_ref!r}",
            code="model-ref",
            hint=f"set are: {set_ones}" if version_or_ref != CURRENT else "no version was released",
        )
    return ref.version, ref.manifest_digest
