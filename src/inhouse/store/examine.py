"""Compare stored bytes with what their names and manifests say, for loading and for verifying."""

from __future__ import annotations

import hashlib
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from inhouse.core.hashing import sha256_file
from inhouse.store.layout import CHECKSUM, MANIFEST
from inhouse.store.manifest import FileEntry, Manifest, explain


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something in the store that is not as it was published.

    ``model`` and ``version`` are empty for a blob that no version was found by. ``problem`` is one
    of missing, unreadable, size, digest, manifest, extra, ref, quarantined (marked, but whole by
    now); ``expected`` and ``actual`` are digests where there are any.
    """

    model: str
    version: str
    file: str
    problem: str
    expected: str = ""
    actual: str = ""
    detail: str = ""

    @property
    def message(self) -> str:
        where = f"{self.model}@{self.version}: {self.file}" if self.model else self.file
        said = f": expected {self.expected}, found {self.actual}" if self.expected else ""
        return f"{where}: {self.problem}{said}" + (f" ({self.detail})" if self.detail else "")


class Digests:
    """SHA-256 of files, remembered while inode, size and both times of the file stay the same.

    ``on_read`` is called with the size of every file that was read.
    """

    def __init__(self, on_read: Callable[[int], None] | None = None) -> None:
        self._on_read = on_read
        self._known: dict[tuple[int, int], tuple[tuple[int, int, int], str]] = {}
        self._lock = threading.Lock()

    def of(self, path: Path) -> tuple[int, str]:
        """Size in bytes and ``sha256:<hex>``. Raises OSError, also for what is not a plain file."""
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path.name} is not a regular file")
        key = (status.st_dev, status.st_ino)
        state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        with self._lock:
            known = self._known.get(key)
        if known is not None and known[0] == state:
            return status.st_size, known[1]
        digest = f"sha256:{sha256_file(path)}"
        if self._on_read is not None:
            self._on_read(status.st_size)
        with self._lock:
            self._known[key] = (state, digest)
        return status.st_size, digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found in one version's folder; ``manifest`` is None when it cannot be trusted."""

    manifest: Manifest | None
    manifest_digest: str
    findings: tuple[Finding, ...]


def read_manifest(folder: Path, name: str, version: str) -> Examination:
    """Read a version's manifest against its checksum file; the files are not looked at."""

    def found(problem: str, **more: str) -> Examination:
        finding = Finding(model=name, version=version, file=MANIFEST, problem=problem, **more)
        return Examination(manifest=None, manifest_digest="", findings=(finding,))

    try:
        data = (folder / MANIFEST).read_bytes()
        noted = (folder / CHECKSUM).read_bytes()
    except FileNotFoundError as error:
        return found("missing", detail=f"there is no {Path(error.filename).name}")
    except OSError as error:
        return found("unreadable", detail=str(error))
    actual = hashlib.sha256(data).hexdigest()
    if noted != checksum_line(actual):
        expected = noted[:64].decode("ascii", "replace")
        return found("digest", expected=f"sha256:{expected}", actual=f"sha256:{actual}")
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        return found("manifest", detail=explain(error))
    if (manifest.name, manifest.version) != (name, version):
        return found("manifest", detail=f"it describes {manifest.name}@{manifest.version}")
    return Examination(manifest=manifest, manifest_digest=f"sha256:{actual}", findings=())


def checksum_line(hex_digest: str) -> bytes:
    """The content of manifest.sha256, as ``sha256sum --check`` reads it."""
    return f"{hex_digest}  {MANIFEST}\n".encode()


def examine(folder: Path, name: str, version: str, digests: Digests) -> Examination:
    """Compare a version's folder with its manifest: every file's presence, size and SHA-256, and
    that nothing else lies there."""
    read = read_manifest(folder, name, version)
    if read.manifest is None:
        return read
    findings = [
        Finding(model=name, version=version, file=entry.path, **problem)
        for entry in read.manifest.files
        if (problem := _compare(folder / entry.path, entry, digests))
    ]
    known = {entry.path for entry in read.manifest.files} | {MANIFEST, CHECKSUM}
    findings += [
        Finding(model=name, version=version, file=extra, problem="extra")
        for extra in _files_in(folder)
        if extra not in known
    ]
    return Examination(
        manifest=read.manifest, manifest_digest=read.manifest_digest, findings=tuple(findings)
    )


def _files_in(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix()


def _compare(path: Path, entry: FileEntry, digests: Digests) -> dict[str, str]:
    try:
        size, digest = digests.of(path)
    except FileNotFoundError:
        return {"problem": "missing"}
    except OSError as error:
        return {"problem": "unreadable", "detail": str(error)}
    if digest == entry.digest:
        return {}
    problem = "digest" if size == entry.size else "size"
    detail = "" if size == entry.size else f"{size} bytes instead of {entry.size}"
    return {"problem": problem, "expected": entry.digest, "actual": digest, "detail": detail}
