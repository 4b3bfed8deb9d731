"""One life of the language model's child process, seen from the parent. No torch here."""

from __future__ import annotations

import itertools
import queue
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, BinaryIO, cast

from inhouse.core.errors import BackendError
from inhouse.inference.engines.children import environment
from inhouse.inference.engines.frames import frame_of, read_frame

_TAIL_LINES = 20
_GRACE_S = 3.0

Found = dict[str, Any]


class LmProcess:
    """A running child. Thread-safe; every request has a Future of its own.

    When the child ends, the requests in flight fail with BackendError ``engine-crashed``
    (retryable), or ``engine-closed`` after ``close``.
    """

    def __init__(self, arguments: Sequence[str], *, threads: int) -> None:
        self._child = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(threads),
            start_new_session=True,
        )
        self._numbers = itertools.count(1)
        self._pending: dict[int, Future[Found]] = {}
        self._guard = threading.Lock()
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._errors: deque[str] = deque(maxlen=_TAIL_LINES)
        self._closing = False
        self._ended = False
        self._listener = self._thread(self._listen)
        self._writer = self._thread(self._write)
        self._reader = self._thread(self._read)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return not (self._ended or self._closing)

    def submit(self, request: Mapping[str, Any]) -> Future[Found]:
        """Send a request. The Future holds the child's answer or a BackendError; cancelling it
        tells the child to drop the request. Raises BackendError: ``unsupported`` for a request that
        holds a number of more than 64 bits or no end of levels."""
        future: Future[Found] = Future()
        with self._guard:
            if not self.alive:
                raise self._reason()
            number = next(self._numbers)
            self._outbox.put(_frame({**request, "id": number}))
            self._pending[number] = future
        future.add_done_callback(lambda done: self._drop(number) if done.cancelled() else None)
        return future

    def close(self) -> None:
        """End the child; waits for it, a few seconds at most. May be called twice."""
        with self._guard:
            self._closing = True
        self._outbox.put(None)
        try:
            self._child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
        for thread in (self._writer, self._reader, self._listener):
            thread.join()

    def _thread(self, target: Any) -> threading.Thread:
        thread = threading.Thread(target=target, name=f"lm-{self._child.pid}", daemon=True)
        thread.start()
        return thread

    def _drop(self, number: int) -> None:
        with self._guard:
            if self._pending.pop(number, None) is not None:
                self._outbox.put(_frame({"op": "cancel", "id": number}))

    def _write(self) -> None:
        stream = cast("BinaryIO", self._child.stdin)
        with suppress(OSError):
            while (frame := self._outbox.get()) is not None:
                stream.write(frame)
                stream.flush()
        with suppress(OSError):
            stream.close()

    def _listen(self) -> None:
        for line in cast("BinaryIO", self._child.stderr):
            self._errors.append(line.decode(errors="replace").rstrip())

    def _read(self) -> None:
        stream = cast("BinaryIO", self._child.stdout)
        while (reply := read_frame(stream)) is not None:
            with self._guard:
                future = self._pending.pop(reply["id"], None)
            if future is not None and future.set_running_or_notify_cancel():
                _settle(future, reply)
        self._finish()

    def _finish(self) -> None:
        """The child closed its end: reap it, and tell everybody who waits."""
        self._child.wait()
        self._listener.join()
        with self._guard:
            self._ended = True
            left, self._pending = list(self._pending.values()), {}
            reason = self._reason()
        self._outbox.put(None)
        for future in left:
            if future.set_running_or_notify_cancel():
                future.set_exception(reason)

    def _reason(self) -> BackendError:
        if self._closing:
            return BackendError("the language model was closed", code="engine-closed")
        last = " | ".join(line for line in self._errors if line)
        return BackendError(
            f"the language model's process ended ({_how(self._child.returncode)}) {last}".rstrip(),
            code="engine-crashed",
            retryable=True,
        )


def _frame(message: Mapping[str, Any]) -> bytes:
    try:
        return frame_of(message)
    except (OverflowError, RecursionError) as error:
        raise BackendError(
            f"the question cannot be told to the model ({error})", code="unsupported", fatal=True
        ) from None


def _settle(future: Future[Found], reply: Mapping[str, Any]) -> None:
    if "found" in reply:
        future.set_result(reply["found"])
    elif reply["refused"]:
        future.set_exception(BackendError(reply["reason"], code="unsupported"))
    else:
        future.set_exception(BackendError(reply["reason"], code="engine-failed"))


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
