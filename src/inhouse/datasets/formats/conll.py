"""CoNLL: a token a line with its tag, an empty line after each sentence.

Tags are BIO (also without the first B), BIOES or BILOU. A line ``# text = ...`` gives the sentence
as it was; without one its spacing is put together from the tokens. Other lines ``# name = value``
before a sentence are fields of it. ``-DOCSTART-`` and ``# newdoc`` begin a document, whose
sentences are one group.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import msgspec

from inhouse.core.errors import Invalid
from inhouse.core.hashing import digest_of
from inhouse.datasets.formats.pieces import cut, join
from inhouse.datasets.formats.row import TOO_LONG, Record, Row, lines_of, refuse_kind
from inhouse.tasks.spec import TaskKind, TaskSpec

_NOTE = re.compile(r"# ?([\w.:-]+) = (.*)\Z", re.DOTALL)
_NEW_DOCUMENT = re.compile(r"-DOCSTART-|# ?newdoc\b")
_EXACT, _QUOTED = "text", "text_json"
_FIRST_LASTS, _SHORT = ("split",), 16


def columns(_file: BinaryIO) -> Sequence[str]:
    """A sentence gives a text and spans; the others are what notes may say."""
    return ("text", "spans", "group", "weight", "occurred_at", "subject", "split")


def read(file: BinaryIO, named: Mapping[str, str]) -> Iterator[Row]:
    """``named`` may give the columns of token (text) and tag (target), counted from 1; they are
    the first and the last one otherwise."""
    word, tag = _position(named, "text", 0), _position(named, "target", -1)
    document = _Document()
    sentence = _Sentence(word, tag)
    for number, content in lines_of(file):
        if content is None:
            yield Row(line=number, problem=TOO_LONG)
            continue
        line = content.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
        line = line.rstrip("\r\n")
        if line.strip():
            _take(sentence, document, number, line)
        elif sentence.lines:
            yield sentence.row(document)
            sentence = _Sentence(word, tag)
    if sentence.lines:
        yield sentence.row(document)


def write(file: BinaryIO, spec: TaskSpec, records: Iterable[Record]) -> dict[str, int]:
    """BIO tags, and the text itself above each sentence. A span that begins or ends in white space
    has no tags."""
    if spec.kind is not TaskKind.SPANS:
        raise refuse_kind("CoNLL", spec, "spans")
    left_out: Counter[str] = Counter()
    for one in records:
        spans = one.target["spans"]
        if any(span["text"] != span["text"].strip() for span in spans):
            left_out["space-at-the-edge"] += 1
        else:
            file.write("".join(f"{line}\n" for line in _lines(one, spans)).encode())
    return dict(left_out)


@dataclass(slots=True)
class _Document:
    """What holds for all sentences of a document: its group, and notes that stay."""

    begun: bool = False
    group: str | None = None
    notes: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        self.begun, self.group = True, None

    def group_of(self, text: str) -> str | None:
        """The document is named by its first sentence, so that its group is the same again."""
        if self.begun and self.group is None:
            self.group = "document " + digest_of(text)[:_SHORT]
        return self.group


class _Sentence:
    """The lines of one sentence."""

    def __init__(self, word: int, tag: int) -> None:
        self._word, self._tag = word, tag
        self.notes: dict[str, str] = {}
        self.lines: list[tuple[int, str]] = []

    def row(self, document: _Document) -> Row:
        """The sentence as a row, or what is wrong with it."""
        line = self.lines[0][0]
        try:
            _check_encoding([*self.notes.values(), *(text for _, text in self.lines)])
            pairs = [self._pair(number, text) for number, text in self.lines]
            text, starts = self._text([word for word, _ in pairs])
            spans = _spans(pairs, starts)
        except Invalid as error:
            return Row(line=line, problem=error.message)
        fields: dict[str, Any] = {**document.notes, **self.notes, "text": text, "spans": spans}
        group = document.group_of(text)
        if group is not None:
            fields.setdefault("group", group)
        return Row(line=line, fields=fields)

    def _pair(self, number: int, line: str) -> tuple[str, str]:
        values = line.split("\t") if "\t" in line else line.split()
        if len(values) < 2:
            raise Invalid(f"line {number} has a token without a tag")
        try:
            return values[self._word], values[self._tag].strip()
        except IndexError:
            raise Invalid(f"line {number} has {len(values)} columns") from None

    def _text(self, words: list[str]) -> tuple[str, list[int]]:
        quoted, exact = self.notes.pop(_QUOTED, None), self.notes.pop(_EXACT, None)
        if quoted is not None:
            try:
                exact = msgspec.json.decode(quoted, type=str)
            except msgspec.DecodeError:
                raise Invalid(f"the note {_QUOTED} is no JSON text") from None
        return join(words) if exact is None else (exact, _find(exact, words))


def _take(sentence: _Sentence, document: _Document, number: int, line: str) -> None:
    """One line that is not empty; notes stand before the first token."""
    if not sentence.lines and _NEW_DOCUMENT.match(line):
        document.begin()
    elif not sentence.lines and (note := _NOTE.match(line)):
        kept = document.notes if note[1] in _FIRST_LASTS else sentence.notes
        kept[note[1]] = note[2]
    else:
        sentence.lines.append((number, line))


def _check_encoding(texts: Iterable[str]) -> None:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise Invalid("not UTF-8") from None


def _position(named: Mapping[str, str], role: str, usual: int) -> int:
    if role not in named:
        return usual
    if not named[role].isdecimal() or named[role] == "0":
        raise Invalid(
            f"{role}={named[role]} names no column of CoNLL",
            code="import-columns",
            hint="columns are counted from 1: --column text=1 --column target=4",
        )
    return int(named[role]) - 1


def _find(text: str, words: Sequence[str]) -> list[int]:
    starts, end = [], 0
    for word in words:
        start = text.find(word, end)
        if start < 0:
            raise Invalid(f"token {word!r} is not where the sentence's text has it")
        starts.append(start)
        end = start + len(word)
    return starts


def _spans(pairs: Sequence[tuple[str, str]], starts: Sequence[int]) -> list[dict[str, Any]]:
    """Spans from tags. One that goes on without a beginning, or as another type, begins there."""
    spans: list[dict[str, Any]] = []
    is_open = False
    for (word, tag), start in zip(pairs, starts, strict=True):
        prefix, dash, label = tag.partition("-")
        if tag in ("O", "_"):
            is_open = False
            continue
        if not dash or not label or prefix not in ("B", "I", "E", "S", "L", "U"):
            raise Invalid(f"tag {tag!r} is neither O nor B-, I-, E- or S- and a type")
        if prefix in "BSU" or not is_open or spans[-1]["label"] != label:
            spans.append({"start": start, "label": label})
        spans[-1]["end"] = start + len(word)
        is_open = prefix in "BI"
    return spans


def _lines(one: Record, spans: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if "\n" in one.text or "\r" in one.text:
        yield f"# {_QUOTED} = {msgspec.json.encode(one.text).decode()}"
    else:
        yield f"# {_EXACT} = {one.text}"
    yield f"# split = {one.split}"
    if one.weight != 1.0:
        yield f"# weight = {one.weight!r}"
    if one.group is not None and "\n" not in one.group and "\r" not in one.group:
        yield f"# group = {one.group}"
    begins = {span["start"]: span for span in spans}
    inside = None
    for start, end in cut(one.text, spans):
        span = begins.get(start)
        inside = span or (inside if inside and start < inside["end"] else None)
        if not one.text[start:end].isspace():
            mark = f"{'B' if span else 'I'}-{inside['label']}" if inside else "O"
            yield f"{one.text[start:end]}\t{mark}"
    yield ""
