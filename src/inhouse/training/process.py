"""Supervising a child process: its lines, its log, its deadline, and its end."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from inhouse.core.clock import Clock
from inhouse.core.errors import Invalid
from inhouse.inference.engines.children import environment
from inhouse.jobs.handler import Stopped
from inhouse.training import handover

POLL_S = 0.2
GRACE_S = 5.0

Line = Mapping[str, Any]


class ChildDied(Exception):
    """The child ended without saying why: killed, out of memory, a crash in native code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the supervisor does meanwhile: hears lines, asks whether to stop, ends it in time."""

    on_line: Callable[[Line], None]
    cancelled: Callable[[], bool]
    max_seconds: float
    clock: Clock


def command(module: str, *arguments: str) -> list[str]:
    """The command line of a module of ours; the folder it runs in is not on its import path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def supervise(arguments: Sequence[str], watch: Watch, *, log: Path, threads: int) -> None:
    """Run a child to its good end; its stderr is appended to ``log``.

    Raises Invalid (``training-failed``) with the child's own reason, or when it takes too long;
    ``Stopped`` after ending it because ``watch.cancelled`` said so; ``ChildDied`` otherwise.
    """
    with log.open("ab") as errors:
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(threads),
            start_new_session=True,
        )
    try:
        failed = _listen(child, watch)
        code = _exit_code(child)
    finally:
        _end(child)
    if failed is not None:
        raise Invalid(str(failed["reason"]), code="training-failed", hint=str(failed["hint"]))
    if code != 0:
        raise ChildDied(f"the training process ended with {code}; its log.txt may say why")


def _listen(child: subprocess.Popen[bytes], watch: Watch) -> Line | None:
    """Hand on the child's lines until it closes its end; what it gave up with, if so."""
    lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
    assert child.stdout is not None
    reader = threading.Thread(target=_read, args=(child.stdout, lines), daemon=True)
    reader.start()
    deadline = watch.clock.monotonic() + watch.max_seconds
    failed = None
    while True:
        if watch.cancelled():
            raise Stopped
        if watch.clock.monotonic() > deadline:
            raise Invalid(
                f"training took longer than {watch.max_seconds:g} s",
                code="training-failed",
                hint="allow more with --set max_seconds=...",
            )
        try:
            line = lines.get(timeout=POLL_S)
        except queue.Empty:
            continue
        if line is None:
            return failed
        if line["kind"] == handover.FAILED:
            failed = line
        else:
            watch.on_line(line)


def _read(pipe: IO[bytes], lines: queue.SimpleQueue[Line | None]) -> None:
    """Read to the end. A last line that a kill cut short is dropped."""
    with pipe:
        for text in pipe:
            try:
                lines.put(msgspec.json.decode(text, type=dict[str, Any]))
            except msgspec.DecodeError:
                continue
    lines.put(None)


def _exit_code(child: subprocess.Popen[bytes]) -> int | None:
    """The exit code of a child that closed its pipe; None when it hangs all the same."""
    try:
        return child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Whatever happened, nothing is left of it and its own children: ask, wait, kill."""
    if child.poll() is None:
        _signal(child, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
    if child.poll() is None:
        _signal(child, signal.SIGKILL)
        child.wait()
    if child.stdin is not None:
        child.stdin.close()


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)
