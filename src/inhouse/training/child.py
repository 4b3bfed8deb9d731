"""The child process: ``python -m inhouse.training.child FOLDER``.

It reads the order, trains, and writes the result. Its stdout carries the lines of the handover and
nothing else: what libraries print goes to stderr, the run's log. It ends by itself when its parent
does (its stdin closes), with its own children, so that a killed worker leaves nothing behind.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from inhouse.core.clock import Clock, SystemClock
from inhouse.core.errors import InhouseError
from inhouse.training import handover, recipes
from inhouse.training.trainers.base import TrainingFailed, TrainingStopped, Work

Send = Callable[[Mapping[str, Any]], None]

_QUIET_S = 0.3


class Reporter:
    """Sends progress, at most every 0.3 s unless what is done changes or there is a point."""

    def __init__(self, send: Send, clock: Clock) -> None:
        self._send = send
        self._clock = clock
        self._note: str | None = None
        self._due = 0.0

    def __call__(
        self, done: float, total: float, note: str, point: Mapping[str, Any] | None = None
    ) -> None:
        now = self._clock.monotonic()
        if point is None and note == self._note and now < self._due and done < total:
            return
        self._note, self._due = note, now + _QUIET_S
        self._send(handover.progress_line(done, total, note, point))


def train(folder: Path, send: Send, stop: threading.Event, clock: Clock) -> None:
    """Do what the order says. Raises what the trainer raises."""
    order, examples = handover.read_order(folder)
    trainer, settings = recipes.resolve(order.recipe, order.settings)
    kept = folder.parent / handover.KEPT
    kept.mkdir(exist_ok=True)
    work = Work(
        folder=folder,
        kept=kept,
        base=order.base,
        spec=order.spec,
        examples=examples,
        settings=settings,
        report=Reporter(send, clock),
        cancelled=stop.is_set,
    )
    handover.write_result(folder, trainer.train(work))


def run(step: Callable[[Send, threading.Event], None]) -> int:
    """Frame a child's work: the pipe, the signal to stop, the boundary of errors. The exit code."""
    out = _own_stdout()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()

    def send(line: Mapping[str, Any]) -> None:
        out.write(msgspec.json.encode(line) + b"\n")
        out.flush()

    try:
        step(send, stop)
    except TrainingStopped:
        return handover.EXIT_STOPPED
    except TrainingFailed as error:
        send(handover.failed_line(str(error)))
        return handover.EXIT_FAILED
    except InhouseError as error:
        send(handover.failed_line(error.message, error.hint))
        return handover.EXIT_FAILED
    except Exception as error:  # noqa: BLE001  the boundary of the child process
        traceback.print_exc()
        send(handover.failed_line(f"{type(error).__name__}: {error}"))
        return handover.EXIT_FAILED
    return 0


def _own_stdout() -> IO[bytes]:
    """The pipe to the parent; from now on file descriptor 1 is stderr."""
    sys.stdout.flush()
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _end_with_parent() -> None:
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(handover.EXIT_ORPHANED)


def main(arguments: list[str]) -> int:
    """Train what the order in the folder says."""
    folder = Path(arguments[0])
    return run(lambda send, stop: train(folder, send, stop, SystemClock()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
