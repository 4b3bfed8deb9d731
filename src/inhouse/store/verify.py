"""Read everything again and say what is not as it was published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from inhouse.core.errors import Corrupt
from inhouse.store.examine import Digests, Finding, examine, read_manifest
from inhouse.store.layout import Layout
from inhouse.store.publish import Progress
from inhouse.store.refs import read_ref, ref_names


def verify(
    layout: Layout, name: str | None, version: str | None, progress: Progress | None
) -> Iterator[Finding]:
    """The findings of one version, of one model with its refs, or of the whole store with its
    blobs. Each file is read once, however many names it has."""
    names = layout.names() if name is None else [name]
    chosen = [
        (each, found)
        for each in names
        for found in ([version] if version else layout.versions(each))
    ]
    blobs = _blobs(layout) if name is None else []
    weights = [_weight(layout.version(*pair)) for pair in chosen]
    meter = _Meter(progress, sum(weights) + sum(path.lstat().st_size for path in blobs))
    digests = Digests()
    for pair, weight in zip(chosen, weights, strict=True):
        yield from examine(layout.version(*pair), *pair, digests).findings
        meter.add("@".join(pair), weight)
    for each in names if version is None else []:
        yield from _verify_refs(layout, each)
    for blob in blobs:
        yield from _verify_blob(layout, blob, digests)
        meter.add("blobs", blob.lstat().st_size)


class _Meter:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def add(self, what: str, size: int) -> None:
        self._done += size
        if self._progress is not None:
            self._progress(what, self._done, self._total)


def _blobs(layout: Layout) -> list[Path]:
    return sorted(path for path in layout.blobs.glob("*/*") if path.is_file())


def _weight(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _verify_refs(layout: Layout, name: str) -> Iterator[Finding]:
    for ref in ref_names(layout, name):
        problem = _ref_problem(layout, name, ref)
        if problem:
            yield Finding(
                model=name, version="", file=f"refs/{ref}.json", problem="ref", detail=problem
            )


def _ref_problem(layout: Layout, name: str, ref: str) -> str:
    try:
        found = read_ref(layout, name, ref)
    except Corrupt as error:
        return error.message
    if found is None:
        return ""
    if found.version not in layout.versions(name):
        return f"it points at {found.version}, which is not there"
    actual = read_manifest(layout.version(name, found.version), name, found.version)
    if actual.manifest is not None and actual.manifest_digest != found.manifest_digest:
        return f"it expects manifest {found.manifest_digest}, found {actual.manifest_digest}"
    return ""


def _verify_blob(layout: Layout, blob: Path, digests: Digests) -> Iterator[Finding]:
    expected = f"sha256:{blob.name}"
    file = blob.relative_to(layout.root).as_posix()
    try:
        _, actual = digests.of(blob)
    except OSError as error:
        yield Finding(model="", version="", file=file, problem="unreadable", detail=str(error))
        return
    if actual != expected:
        yield Finding(
            model="", version="", file=file, problem="digest", expected=expected, actual=actual
        )
