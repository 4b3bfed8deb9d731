"""The few file operations that survive a kill or a power cut, and nothing else."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inhouse.core.ids import new_id


def sync(path: Path) -> None:
    """Flush a file's bytes, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush the entries of a folder and of every folder in it."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync(path)
    sync(folder)


def ensure_folder(path: Path) -> None:
    """Make a folder and its missing parents, each of them entered durably in its parent."""
    if path.is_dir():
        return
    ensure_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync(path.parent)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that does not exist yet, and flush it. Its folder is not flushed."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes, *, temporary: Path) -> None:
    """Replace a file in one step; a reader sees the old bytes or the new ones.

    ``temporary`` is on the same file system; what a killed writer left there is overwritten.
    """
    temporary.unlink(missing_ok=True)
    write_new(temporary, data)
    temporary.replace(path)
    sync(path.parent)


def link_or_copy(source: Path, target: Path, *, scratch: Path) -> None:
    """Give a file a second name: a hard link, or a copy where the file system has no links.

    A target that appears meanwhile is left as it is. ``scratch`` holds the copy until it is whole.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        return
    except OSError:
        copy_file(source, target, scratch=scratch)


def copy_file(source: Path, target: Path, *, scratch: Path) -> None:
    """Copy a file so that the target appears whole, flushed and read-only."""
    temporary = scratch / f"copy-{new_id()}"
    shutil.copyfile(source, temporary)
    temporary.chmod(0o444)
    sync(temporary)
    temporary.replace(target)


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file against other threads and other processes: alone, or together with
    all who hold it ``shared``."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def append_line(path: Path, line: bytes) -> None:
    """Append one line and flush it. A last line that a kill tore off stays a line of its own."""
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
