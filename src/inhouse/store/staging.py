"""Work in progress: folders that a publisher fills, each naming the process that owns it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from inhouse.core.ids import new_id
from inhouse.store.durable import ensure_folder, write_new
from inhouse.store.layout import Layout, check_name
from inhouse.store.owner import Owner, gone, this_process

_ORPHAN_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """A folder to write a version's files in: ``path``. As a context manager it cleans up."""

    name: str
    home: Path

    @property
    def path(self) -> Path:
        return self.home / "files"

    def discard(self) -> None:
        """Remove the folder and what is left in it."""
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


def stage(layout: Layout, name: str) -> Staging:
    """Make an empty staging folder for a version of a model. Raises Invalid for a bad name."""
    staging = Staging(name=check_name(name), home=layout.staging / new_id())
    ensure_folder(layout.staging)
    staging.home.mkdir()
    write_new(staging.home / "owner.json", msgspec.json.encode(this_process(layout.clock)))
    staging.path.mkdir()
    return staging


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A staging folder whose owner is gone; ``bytes`` is what its removal frees."""

    path: Path
    bytes: int
    reason: str


def leftovers(layout: Layout) -> Iterator[Leftover]:
    """The staging folders whose owner has died or never wrote its name. An owner on another host
    cannot be asked, so its folder counts as alive."""
    homes = sorted(layout.staging.iterdir()) if layout.staging.is_dir() else []
    for home in homes:
        if reason := _abandoned(layout, home):
            freed = sum(
                status.st_size
                for path in home.rglob("*")
                if path.is_file() and (status := path.lstat()).st_nlink == 1
            )
            yield Leftover(path=home, bytes=freed, reason=reason)


def _abandoned(layout: Layout, home: Path) -> str:
    try:
        owner = msgspec.json.decode((home / "owner.json").read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError):
        age = layout.clock.now().timestamp() - home.stat().st_mtime
        return "no owner" if age > _ORPHAN_S else ""
    return gone(owner)
