"""The one object that the rest of Inhouse holds: a store in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from inhouse.core.clock import Clock
from inhouse.core.errors import Corrupt, Invalid, NotFound
from inhouse.store import quarantine
from inhouse.store.copies import Copied, copy
from inhouse.store.examine import Digests, Finding, read_manifest
from inhouse.store.layout import VERSION, open_layout
from inhouse.store.leases import Lease, LeaseRecord, Leases, alive
from inhouse.store.manifest import Draft, Manifest
from inhouse.store.prune import Garbage, Policy, prune
from inhouse.store.publish import Check, Progress, Published, publish
from inhouse.store.quarantine import Mark
from inhouse.store.refs import CURRENT, Ref, read_ref, ref_names, set_ref
from inhouse.store.resolve import Resolved, resolve
from inhouse.store.staging import Staging, stage
from inhouse.store.verify import Pause, verify


@dataclass(frozen=True, slots=True)
class Held:
    """A verified version that ``prune`` leaves alone until ``release``. In ``with`` it gives
    ``version``. ``lease`` is None where none can be written."""

    version: Resolved
    lease: Lease | None

    def release(self) -> None:
        """Give it back."""
        if self.lease is not None:
            self.lease.release()

    def __enter__(self) -> Resolved:
        return self.version

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One version in a listing; its files were not read. ``manifest`` is None and ``problem`` says
    why when the manifest cannot be trusted, or the version is in quarantine."""

    name: str
    version: str
    refs: tuple[str, ...]
    manifest: Manifest | None
    manifest_digest: str
    problem: str
    quarantined: bool

    @property
    def bytes(self) -> int:
        return sum(entry.size for entry in self.manifest.files) if self.manifest else 0

    @property
    def created_at(self) -> datetime | None:
        return self.manifest.created_at if self.manifest else None


class ModelStore:
    """Immutable versions of models in ``root``, which is made when it is missing or empty.

    Safe to use from several threads and processes at once. Raises Invalid (``store-foreign``) for a
    folder that holds anything else.
    """

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root = root
        self._layout = open_layout(root, clock)
        self._digests = Digests()
        self._leases = Leases(self._layout)

    def stage(self, name: str) -> Staging:
        """An empty folder (``.path``) to write the files of a new version in. Use it in ``with``,
        or call ``discard()`` when nothing comes of it."""
        return stage(self._layout, name)

    def publish(
        self,
        staging: Staging,
        draft: Draft,
        *,
        check: Check | None = None,
        progress: Progress | None = None,
    ) -> Published:
        """Make a version of the staged files; the staging folder is used up.

        ``check(folder, manifest)`` runs before anything is stored and raises to refuse. Content
        that the store holds already takes no more room; the same content within the same second is
        the same version. No ref moves. Raises Invalid (``pickle``, ``file-format``, ``file-path``,
        ``staging-empty``, ``manifest``), Conflict when a file changes meanwhile; then the store is
        as before and the staging folder is still there.
        """
        return publish(
            self._layout,
            self._digests,
            staging,
            draft,
            check=check,
            progress=progress,
        )

    def set_ref(
        self,
        name: str,
        ref: str,
        version: str,
        *,
        expect_seq: int | None = None,
        actor: str,
        reason: str,
    ) -> int:
        """Point a ref at a version that verifies; returns the ref's new number.

        ``expect_seq``: the number that the caller has read (0: never set); Conflict (``ref-moved``)
        when it is another by now. None moves the ref from wherever it is.
        """
        if not VERSION.match(version):
            raise Invalid(f"{version!r} is not a version", code="store-version")
        target = self.resolve(name, version).published
        return set_ref(
            self._layout,
            ref,
            target,
            expect_seq=expect_seq,
            actor=actor,
            reason=reason,
        )

    def read_ref(self, name: str, ref: str = CURRENT) -> Ref | None:
        """Where a ref points, None when it was never set."""
        return read_ref(self._layout, name, ref)

    def resolve(self, name: str, version_or_ref: str = CURRENT) -> Resolved:
        """The folder and manifest of a version, verified.

        The first time in this process every file is hashed; later only files whose inode, size or
        times have changed. A damaged version goes to quarantine. When ``current`` is damaged, the
        latest version that it pointed at before and that verifies is the answer (``instead_of``
        says why). Raises NotFound (``model-unknown``, ``model-ref``, ``model-version``), Corrupt
        (``model-corrupt``) naming model, version, file and both digests.
        """
        return resolve(self._layout, self._digests, name, version_or_ref)

    def hold(self, name: str, version_or_ref: str = CURRENT, *, holder: str) -> Held:
        """``resolve``, and keep ``prune`` off the version until it is released. ``holder`` says for
        people what it is used for."""
        while True:
            found = self.resolve(name, version_or_ref)
            try:
                return Held(found, self._leases.take(name, found.version, holder))
            except NotFound:
                continue
            except OSError:  # a store that cannot be written to cannot be pruned either
                return Held(found, None)

    def leases(self) -> list[LeaseRecord]:
        """Who uses which version now, in any process."""
        return alive(self._layout)

    def versions(self, name: str) -> list[str]:
        """The versions of a model, oldest first; empty when there is none."""
        return self._layout.versions(name)

    def entry(self, name: str, version: str) -> Entry:
        """One version as a listing has it; one that is not there has a ``problem``."""
        try:
            return self._entry(name, version, self._refs(name))
        except Invalid as error:
            return Entry(
                name=name,
                version=version,
                refs=(),
                manifest=None,
                manifest_digest="",
                problem=error.message,
                quarantined=False,
            )

    def _refs(self, name: str) -> dict[str, str]:
        """The version that each readable ref points at; `verify` tells of the others."""
        found = {}
        for ref in ref_names(self._layout, name):
            try:
                at = self.read_ref(name, ref)
            except Corrupt:
                continue
            if at is not None:
                found[ref] = at.version
        return found

    def _entry(self, name: str, version: str, refs: dict[str, str]) -> Entry:
        read = read_manifest(self._layout.version(name, version), name, version)
        mark = quarantine.marked(self._layout, name, version)
        problems = [mark.message] if mark else [each.message for each in read.findings]
        return Entry(
            name=name,
            version=version,
            refs=tuple(ref for ref, target in refs.items() if target == version),
            manifest=read.manifest,
            manifest_digest=read.manifest_digest,
            problem=problems[0] if problems else "",
            quarantined=mark is not None,
        )

    def verify(
        self,
        name: str | None = None,
        version: str | None = None,
        progress: Progress | None = None,
    ) -> list[Finding]:
        """Read a version, a model or (without a name) the whole store again and list what differs.

        Nothing is remembered from earlier reads. Raises NotFound for a name or version that is not
        there; never for what it finds.
        """
        if name is not None and not self.versions(name):
            raise NotFound(f"the model store has no {name}", code="model-unknown")
        if name is not None and version is not None and version not in self.versions(name):
            raise NotFound(f"{name} has no version {version}", code="model-version")
        return [*verify(self._layout, name, version, progress)]

    def scrub(self, *, pause: Pause, progress: Progress | None = None) -> list[Finding]:
        """Read the whole store again and quarantine what is damaged.

        ``pause`` is called with the bytes of every file that was read: it waits, so that a scrub
        leaves the disk to others, or raises to stop it.
        """
        return [*verify(self._layout, None, None, progress, pause=pause, quarantine=True)]

    def quarantined(self) -> Sequence[Mark]:
        """The versions that failed verification and are refused since."""
        return quarantine.marks(self._layout)

    def lift(self, name: str, version: str) -> None:
        """Take a version out of quarantine. Raises NotFound when it is not there, Corrupt when its
        files still differ; all of them are read again."""
        findings = self.verify(name, version)
        if bad := [each for each in findings if each.problem != "quarantined"]:
            raise Corrupt(
                f"{bad[0].message}: it stays in quarantine",
                code="model-corrupt",
                hint="put the right files back first: `inhouse store restore`",
            )
        quarantine.lift(self._layout, name, version)

    def prune(self, policy: Policy | None = None, *, dry_run: bool) -> Sequence[Garbage]:
        """Remove what nothing needs, or (``dry_run``) only list it.

        Without a policy only staging folders whose process is gone, and trash; with one also
        versions and blobs. What a ref names or a lease holds stays, whatever the policy says.
        """
        return prune(self._layout, policy, dry_run=dry_run)

    def backup(self, folder: Path, *, actor: str, progress: Progress | None = None) -> Copied:
        """Copy every whole version and every ref to another store in ``folder``, which is made when
        it is missing or empty. Raises Invalid (``store-foreign``) when it holds anything else."""
        there = ModelStore(folder, self._layout.clock)
        return self._copy(self, there, repair=False, actor=actor, progress=progress)

    def restore(self, folder: Path, *, actor: str, progress: Progress | None = None) -> Copied:
        """Take from a backup what is missing or damaged here. Raises NotFound (``backup``) when
        ``folder`` holds none."""
        if not (folder / "store.json").is_file():
            raise NotFound(f"{folder} holds no model store", code="backup")
        there = ModelStore(folder, self._layout.clock)
        return self._copy(there, self, repair=True, actor=actor, progress=progress)

    @staticmethod
    def _copy(
        source: ModelStore,
        target: ModelStore,
        *,
        repair: bool,
        actor: str,
        progress: Progress | None,
    ) -> Copied:
        return copy(
            source._layout,
            source.resolve,
            target._layout,
            target._digests,
            repair=repair,
            actor=actor,
            progress=progress,
        )

    def list(self) -> list[Entry]:
        """Every version of every model with its refs, by name, oldest first."""
        entries = []
        for name in self._layout.names():
            refs = self._refs(name)
            entries += [self._entry(name, each, refs) for each in self._layout.versions(name)]
        return entries
