"""The child of ``lm``: ``python -m inhouse.inference.engines.lm_child MODEL_DIR``.

Frames of requests come in on stdin, frames of replies go out on stdout (whatever libraries print
goes to stderr). Questions by likelihood that wait together run together; chats advance by a token
at a time in between, so that a long one holds up nobody. The child ends when stdin does.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from inhouse.inference.engines.frames import read_frame, write_frame

if TYPE_CHECKING:
    from inhouse.inference.engines.lm_model import LanguageModel

_TOGETHER = 8
_CHARACTERS = 4000
Request = Mapping[str, Any]


class Inbox:
    """Requests that wait, and which of the unanswered the parent no longer wants. Thread-safe."""

    def __init__(self) -> None:
        self._waiting: list[Request] = []
        self._unanswered: set[int] = set()
        self._unwanted: set[int] = set()
        self._changed = threading.Condition()

    def put(self, request: Request) -> None:
        """Queue a request, or note a cancellation."""
        with self._changed:
            number = request["id"]
            if request["op"] == "cancel":
                self._unwanted |= {number} & self._unanswered
                return
            self._unanswered.add(number)
            self._waiting.append(request)
            self._changed.notify()

    def take(self, *, wait: bool) -> list[Request]:
        """All that wait; with ``wait``, at least one."""
        with self._changed:
            while wait and not self._waiting:
                self._changed.wait()
            taken, self._waiting = self._waiting, []
            return taken

    def wanted(self, number: int) -> bool:
        """Whether the request is still wanted; one that is not is done with."""
        with self._changed:
            if number in self._unwanted:
                self._done(number)
                return False
            return True

    def done(self, number: int) -> None:
        """Forget an answered request."""
        with self._changed:
            self._done(number)

    def _done(self, number: int) -> None:
        self._unanswered.discard(number)
        self._unwanted.discard(number)


class Desk:
    """Serves the inbox with one model, in one thread."""

    def __init__(self, model: LanguageModel, inbox: Inbox, out: BinaryIO) -> None:
        self._model = model
        self._inbox = inbox
        self._out = out
        self._chats: dict[int, Iterator[dict[str, Any]]] = {}

    def work(self) -> None:
        """One round: the likelihoods that wait, then a token of every chat."""
        requests = self._inbox.take(wait=not self._chats)
        for request in requests:
            if request["op"] == "chat":
                self._chats[request["id"]] = self._model.chat(
                    request["messages"], request["options"], request.get("form")
                )
        waiting = [request for request in requests if request["op"] == "likelihoods"]
        while waiting:
            batch = first_batch(waiting)
            waiting = [request for request in waiting if request not in batch]
            self._score([request for request in batch if self._inbox.wanted(request["id"])])
        for number in list(self._chats):
            self._advance(number)

    def _score(self, batch: Sequence[Request]) -> None:
        from inhouse.inference.engines.lm_model import Words

        if not batch:
            return
        asked = [Words(request["messages"], request["words"]) for request in batch]
        try:
            found = self._model.likelihoods(batch[0]["key"], batch[0]["probes"], asked)
        except Exception as error:  # noqa: BLE001  the request's boundary
            self._fail_or_split(batch, error)
            return
        for request, one in zip(batch, found, strict=True):
            self._reply(
                request["id"],
                {
                    "scores": one.scores,
                    "lengths": one.lengths,
                    "prompt_tokens": one.prompt_tokens,
                },
            )

    def _fail_or_split(self, batch: Sequence[Request], error: Exception) -> None:
        """What fails in company is tried alone: one bad request fails nobody else."""
        if len(batch) == 1:
            self._refuse(batch[0]["id"], error)
            return
        for request in batch:
            self._score([request])

    def _advance(self, number: int) -> None:
        if not self._inbox.wanted(number):
            del self._chats[number]
            return
        try:
            found = next(self._chats[number])
        except Exception as error:  # noqa: BLE001  the request's boundary
            del self._chats[number]
            self._refuse(number, error)
            return
        if found:
            del self._chats[number]
            self._reply(number, found)

    def _reply(self, number: int, found: Mapping[str, Any]) -> None:
        self._inbox.done(number)
        write_frame(self._out, {"id": number, "found": found})

    def _refuse(self, number: int, error: Exception) -> None:
        from inhouse.inference.engines.lm_model import Refused

        self._inbox.done(number)
        known = isinstance(error, Refused)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        write_frame(self._out, {"id": number, "refused": known, "reason": reason})


def first_batch(waiting: Sequence[Request]) -> list[Request]:
    """The requests that run with the first: of the same task, at most 8 and not too long."""
    batch: list[Request] = []
    characters = 0
    for request in waiting:
        characters += sum(len(message["content"]) for message in request["messages"])
        fits = len(batch) < _TOGETHER and characters <= _CHARACTERS
        if not batch or (fits and request["key"] == batch[0]["key"]):
            batch.append(request)
    return batch


def _read(inbox: Inbox) -> None:
    """Hand on what comes in; the end of stdin is the end of this process, whatever it is doing."""
    while (request := read_frame(sys.stdin.buffer)) is not None:
        inbox.put(request)
    os._exit(0)


def main(model_dir: str) -> None:
    """Serve until stdin ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    inbox = Inbox()
    threading.Thread(target=_read, args=(inbox,), daemon=True).start()
    from inhouse.inference.engines.lm_model import LanguageModel

    desk = Desk(LanguageModel(Path(model_dir)), inbox, out)
    while True:
        desk.work()


if __name__ == "__main__":
    main(sys.argv[1])
