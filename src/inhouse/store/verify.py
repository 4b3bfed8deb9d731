"""Read everything again and say what is not as it was published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from inhouse.core.errors import Corrupt
from inhouse.store.blobs import set_aside
from inhouse.store.examine import Digests, Finding, examine, read_manifest
from inhouse.store.layout import Layout
from inhouse.store.publish import Progress
from inhouse.store.quarantine import marked, note
from inhouse.store.refs import read_ref, ref_names

Pause = Callable[[int], None]
"""Called after every file that was read, with its bytes; it may wait, or raise to stop."""


def verify(
    layout: Layout,
    name: str | None,
    version: str | None,
    progress: Progress | None,
    *,
    pause: Pause | None = None,
    quarantine: bool = False,
) -> Iterator[Finding]:
    """The findings of one version, of one model with its refs, or of the whole store with its
    blobs. Each file is read once, however many names it has. ``quarantine`` sets aside
    what is damaged; without it nothing is changed."""
    names = layout.names() if name is None else [name]
    chosen = [
        (each, found)
        for each in names
        for found in ([version] if version else layout.versions(each))
    ]
    blobs = _blobs(layout) if name is None else []
    weights = [_weight(layout.version(*pair)) for pair in chosen]
    meter = _Meter(progress, sum(weights) + sum(map(_size, blobs)))
    digests = Digests(on_read=pause)
    for pair, weight in zip(chosen, weights, strict=True):
        yield from _verify_version(layout, *pair, digests, quarantine=quarantine)
        meter.add("@".join(pair), weight)
    for each in names if version is None else []:
        yield from _verify_refs(layout, each)
    for blob in blobs:
        size = _size(blob)
        yield from _verify_blob(layout, blob, digests, quarantine=quarantine)
        meter.add("blobs", size)


class _Meter:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def add(self, what: str, size: int) -> None:
        self._done += size
        if self._progress is not None:
            self._progress(what, self._done, self._total)


def _blobs(layout: Layout) -> list[Path]:
    return sorted(path for path in layout.blobs.glob("*/*") if path.is_file())


def _size(path: Path) -> int:
    """Bytes; 0 for a file that was deleted meanwhile."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _weight(folder: Path) -> int:
    return sum(_size(path) for path in folder.rglob("*") if path.is_file())


def _verify_version(
    layout: Layout, name: str, version: str, digests: Digests, *, quarantine: bool
) -> Iterator[Finding]:
    folder = layout.version(name, version)
    findings = examine(folder, name, version, digests).findings
    if not folder.is_dir():
        return
    mark = marked(layout, name, version)
    if findings and quarantine and mark is None:
        note(layout, findings)
    yield from findings
    if mark is not None and not findings:
        detail = f"marked {mark.at:%Y-%m-%d %H:%M} UTC, whole now: lift the mark"
        yield Finding(
            model=name, version=version, file="manifest.json", problem="quarantined", detail=detail
        )


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


def _verify_blob(
    layout: Layout, blob: Path, digests: Digests, *, quarantine: bool
) -> Iterator[Finding]:
    expected = f"sha256:{blob.name}"
    file = blob.relative_to(layout.root).as_posix()
    try:
        _, actual = digests.of(blob)
    except FileNotFoundError:
        return
    except OSError as error:
        yield Finding(model="", version="", file=file, problem="unreadable", detail=str(error))
        return
    if actual == expected:
        return
    if quarantine:
        set_aside(layout, blob, expected)
    yield Finding(
        model="", version="", file=file, problem="digest", expected=expected, actual=actual
    )
