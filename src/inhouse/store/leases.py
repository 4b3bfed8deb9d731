"""Who uses a version now. ``prune`` never takes what somebody holds.

A lease is a file with a time, renewed by one thread per process while the version is held. It ends
when it is released, when its process is known to have ended, or when nobody has renewed it in time
(a machine that went away).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from inhouse.core.errors import NotFound
from inhouse.core.ids import new_id
from inhouse.core.log import Log
from inhouse.store.durable import ensure_folder, replace_file
from inhouse.store.layout import Layout
from inhouse.store.owner import Owner, gone, this_process

_log = Log(__name__)
LEASE_S: Final = 120.0
_RENEW_S: Final = 30.0


class LeaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A lease as it lies on the disk. ``holder`` says for people what the version is used for."""

    name: str
    version: str
    holder: str
    owner: Owner
    expires_at: datetime


class Lease:
    """A held version. Release it, or use it in ``with``."""

    def __init__(self, keeper: Leases, path: Path, record: LeaseRecord) -> None:
        self._keeper = keeper
        self.path = path
        self.record = record

    def release(self) -> None:
        """Give it back. A second time does nothing."""
        self._keeper.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Leases:
    """The leases of one process on one store. Thread-safe."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._held: dict[Path, Lease] = {}
        self._guard = threading.Lock()
        self._ended: threading.Event | None = None

    def take(self, name: str, version: str, holder: str) -> Lease:
        """Hold a version from now on. Raises NotFound (``model-version``) if it is not there."""
        layout = self._layout
        record = LeaseRecord(
            name=name,
            version=version,
            holder=holder,
            owner=this_process(layout.clock),
            expires_at=self._end(),
        )
        lease = Lease(self, layout.leases / f"{new_id()}.json", record)
        ensure_folder(layout.leases)
        with layout.in_use():
            if not layout.version(name, version).is_dir():
                raise NotFound(f"{name} has no version {version}", code="model-version")
            self._write(lease)
        with self._guard:
            self._held[lease.path] = lease
            if self._ended is None:
                self._ended = threading.Event()
                keep = threading.Thread(
                    target=self._keep, args=(self._ended,), name="leases", daemon=True
                )
                keep.start()
        return lease

    def forget(self, lease: Lease) -> None:
        """End a lease; the thread ends with the last one."""
        with self._guard:
            if self._held.pop(lease.path, None) is None:
                return
            lease.path.unlink(missing_ok=True)
            if not self._held and self._ended is not None:
                self._ended.set()
                self._ended = None

    def renew(self) -> None:
        """Put off the end of every lease that is held."""
        with self._guard:
            for lease in self._held.values():
                try:
                    self._write(lease)
                except OSError as error:
                    _log.error("lease-not-renewed", holder=lease.record.holder, error=str(error))

    def _end(self) -> datetime:
        return self._layout.clock.now() + timedelta(seconds=LEASE_S)

    def _write(self, lease: Lease) -> None:
        record = msgspec.structs.replace(lease.record, expires_at=self._end())
        temporary = lease.path.with_suffix(".tmp")
        replace_file(lease.path, msgspec.json.encode(record), temporary=temporary)

    def _keep(self, ended: threading.Event) -> None:
        while not ended.wait(_RENEW_S):
            self.renew()


def alive(layout: Layout) -> list[LeaseRecord]:
    """The leases in force, by what they hold."""
    found = [record for _, record in _records(layout) if not _over(layout, record)]
    return sorted(found, key=lambda record: (record.name, record.version, record.holder))


def remove_ended(layout: Layout) -> int:
    """Remove the files of leases that are over; how many there were."""
    ended = [path for path, record in _records(layout) if _over(layout, record)]
    for path in ended:
        path.unlink(missing_ok=True)
    return len(ended)


def _records(layout: Layout) -> Iterator[tuple[Path, LeaseRecord]]:
    """An unreadable lease cannot be of this version's writing (they appear whole); it holds nothing
    and is left to whoever put it there."""
    for path in sorted(layout.leases.glob("*.json")) if layout.leases.is_dir() else []:
        with suppress(OSError, msgspec.DecodeError):
            yield path, msgspec.json.decode(path.read_bytes(), type=LeaseRecord)


def _over(layout: Layout, record: LeaseRecord) -> bool:
    return bool(gone(record.owner)) or record.expires_at <= layout.clock.now()
