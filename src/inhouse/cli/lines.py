"""The two files of ``task run --file``: inputs, a line each, and what became of them.

The out file holds a JSON object for each input, in their order. A line that is done before those
in front of it waits in a second file, ``<out>.resume``, whose first line says which inputs the out
file belongs to. Both are only ever appended to, or replaced whole, so that a process which is
killed loses nothing but the calls under way.
"""

from __future__ import annotations

import codecs
import fcntl
import hashlib
import os
from array import array
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec

from inhouse.core.errors import Conflict, Invalid, NotFound

Line = dict[str, Any]


class Inputs:
    """The lines of an input file. ``count`` of them are not blank; ``digest`` is of their bytes."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb")
        except FileNotFoundError:
            raise NotFound(f"{path} does not exist", code="input-file") from None
        except OSError as error:
            raise Invalid(f"{path}: {error.strerror}", code="input-file") from None
        digest, self._starts, self._numbers = hashlib.sha256(), array("Q"), array("Q")
        start = 0
        for number, line in enumerate(self._file, 1):
            digest.update(line)
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if text and not text.isspace():
                self._starts.append(start + len(line) - len(text))
                self._numbers.append(number)
            start += len(line)
        self.digest = digest.hexdigest()
        self.count = len(self._starts)

    def number(self, position: int) -> int:
        """The number, from 1, of the line in its file."""
        return self._numbers[position]

    def text(self, position: int) -> bytes:
        """The bytes of a line."""
        self._file.seek(self._starts[position])
        return self._file.readline()

    def close(self) -> None:
        self._file.close()


class Results:
    """The out file, opened to go on where it stopped.

    ``identity`` says what its lines answer: another one is refused with Invalid, unless ``fresh``
    starts over. The first ``done`` inputs have their line; those in ``failed`` (positions) hold an
    error. ``put`` takes results in any order, also of inputs that have one. Raises Conflict while
    another process writes it.
    """

    def __init__(self, out: Path, inputs: Inputs, identity: Line, *, fresh: bool) -> None:
        self._out, self._inputs = out, inputs
        self._ahead: dict[int, bytes] = {}
        self.failed: set[int] = set()
        self.done = 0
        self._journal = _locked(out.with_name(out.name + ".resume"), out)
        try:
            if fresh:
                self._journal.truncate(0)
                out.unlink(missing_ok=True)
            self._open(identity)
            self._file = out.open("ab")
        except BaseException:
            self._journal.close()
            raise
        self._drain()

    def has(self, position: int) -> bool:
        """Whether the input has a result, in its place or beside it."""
        return position < self.done or position in self._ahead

    def put(self, position: int, result: Line) -> None:
        """Keep the result of an input: in its place, or beside it until its turn."""
        encoded = msgspec.json.encode({"line": self._inputs.number(position), **result}) + b"\n"
        if position == self.done:
            self._append(encoded)
            self._drain()
            return
        self._journal.write(b'{"at":%d,"is":%b}\n' % (position, encoded.rstrip()))
        self._journal.flush()
        self._ahead[position] = encoded

    def close(self) -> None:
        """Put what was done a second time into its place, and let go of the files."""
        try:
            self._file.close()
            self._settle()
            if not self._ahead:
                self._journal.truncate(self._head)
        finally:
            self._journal.close()

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _append(self, encoded: bytes) -> None:
        self._file.write(encoded)
        self._file.flush()
        self._note(self.done, encoded)
        self.done += 1

    def _drain(self) -> None:
        while self.done in self._ahead:
            self._append(self._ahead.pop(self.done))

    def _note(self, position: int, encoded: bytes) -> None:
        if "error" in msgspec.json.decode(encoded):
            self.failed.add(position)
        else:
            self.failed.discard(position)

    def _open(self, identity: Line) -> None:
        """Read both files as a process left them that may have been killed."""
        head, *waiting = _whole_lines(self._journal) or [b""]
        ours = msgspec.json.encode(identity)
        self._head = len(ours) + 1
        written = self._out.exists() and self._out.stat().st_size
        if head and head != ours and (written or waiting):
            found = msgspec.json.decode(head)
            differs = [name for name in identity if found.get(name) != identity[name]]
            raise self._refuse(f"belongs to another {' and '.join(differs)}")
        if not head and written:
            raise self._refuse("was not written by this command")
        if head != ours:
            self._journal.truncate(0)
            self._journal.write(ours + b"\n")
            self._journal.flush()
        for line in waiting:
            entry = msgspec.json.decode(line, type=_Entry)
            self._ahead[entry.at] = bytes(entry.result) + b"\n"
        if self._out.exists():
            with self._out.open("r+b") as file:
                for line in _whole_lines(file):
                    self._check(line)
                    self._note(self.done, line)
                    self.done += 1
        self._settle()

    def _check(self, line: bytes) -> None:
        try:
            number = msgspec.json.decode(line, type=_Numbered).line
        except msgspec.DecodeError:
            number = 0
        if self.done >= self._inputs.count or number != self._inputs.number(self.done):
            raise self._refuse(f"was changed: its line {self.done + 1} is not what was written")

    def _settle(self) -> None:
        """Rewrite the out file when inputs that stand in it were done again. What waits in the
        journal stays there; it says nothing new once it stands in its place."""
        again = {at: line for at, line in self._ahead.items() if at < self.done}
        if again:
            copy = self._out.with_name(self._out.name + ".new")
            with self._out.open("rb") as old, copy.open("wb") as new:
                new.writelines(again.get(position, line) for position, line in enumerate(old))
                new.flush()
                os.fsync(new.fileno())
            copy.replace(self._out)
        for position, line in again.items():
            self._note(position, line)
            del self._ahead[position]

    def _refuse(self, why: str) -> Invalid:
        return Invalid(
            f"{self._out} {why}",
            code="out-file",
            hint="name another --out, or start over with --fresh, which deletes it",
        )


class _Numbered(msgspec.Struct):
    line: int


class _Entry(msgspec.Struct):
    at: int
    result: msgspec.Raw = msgspec.field(name="is")


def _locked(path: Path, out: Path) -> BinaryIO:
    try:
        file = path.open("a+b")
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}", code="out-file") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise Conflict(f"another process writes {out}", code="out-file") from None
    return file


def _whole_lines(file: BinaryIO) -> list[bytes]:
    """The lines of a file, without their ends. Half a line at its end is cut off."""
    file.seek(0)
    content = file.read()
    whole = content.rpartition(b"\n")[0]
    size = len(whole) + 1 if b"\n" in content else 0
    if size != len(content):
        file.truncate(size)
    return whole.split(b"\n") if size else []
