"""Which process made something, and whether it still runs."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec

from inhouse.core.clock import Clock


class Owner(msgspec.Struct, frozen=True):
    """A process: ``boot_id`` tells it from one with the same number after a restart."""

    pid: int
    boot_id: str
    host: str
    started: str


def this_process(clock: Clock) -> Owner:
    """The calling process, as an owner."""
    return Owner(os.getpid(), _boot_id(), platform.node(), clock.now().isoformat())


def gone(owner: Owner) -> str:
    """Why the process is known to have ended; empty while it runs, or runs on another host, which
    cannot be asked."""
    if owner.host != platform.node():
        return ""
    if owner.boot_id != _boot_id():
        return f"process {owner.pid} ended with an earlier boot"
    return "" if _alive(owner.pid) else f"process {owner.pid} has ended"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
