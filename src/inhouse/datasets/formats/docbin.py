"""spaCy's DocBin: documents with entities, or with categories.

A file is one packed whole that spaCy holds in memory, about 2.2 times its size unpacked; so that
size is bounded, and looked at before.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, BinaryIO, Final

from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from inhouse.core.errors import Invalid
from inhouse.datasets.formats.pieces import cut
from inhouse.datasets.formats.row import Record, Row, refuse_file, refuse_kind
from inhouse.tasks.spec import TaskKind, TaskSpec

LARGEST: Final = 512 * 1024 * 1024
"""Bytes of a file, unpacked, that is read or written: some 125,000 documents of 40 words."""
_VALUE_BYTES: Final = 8
_PIECE: Final = 1024 * 1024
_GROUP = "sc"
_BESIDE = ("group", "weight", "occurred_at", "subject", "split")
_LIKELY = 0.5


def columns(_file: BinaryIO) -> Sequence[str]:
    """A document gives a text, spans, and a label where its categories say one."""
    return ("text", "spans", "label", *_BESIDE)


def read(file: BinaryIO, _named: Mapping[str, str]) -> Iterator[Row]:
    """Spans are the entities, else the span group "sc". Other fields come from user data. Raises
    Invalid (``import-size``) for a file that is over ``LARGEST`` when it is unpacked."""
    try:
        if not _fits(file):
            raise Invalid(
                f"the DocBin is over {LARGEST // 1024 // 1024} MiB when it is unpacked",
                code="import-size",
                hint="write it as several files, or as jsonl or parquet, which are read row by row",
            )
        file.seek(0)
        found = DocBin(store_user_data=True).from_bytes(file.read())
        documents = iter(found.get_docs(Vocab()))
        for number in range(1, len(found) + 1):
            yield Row(line=number, fields=_fields(next(documents)))
    except (zlib.error, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise refuse_file(f"it is no DocBin of this spaCy: {error}") from None


def write(file: BinaryIO, spec: TaskSpec, records: Iterable[Record]) -> dict[str, int]:
    """Spans become entities, a label becomes a category. Raises Invalid (``export-size``) before it
    writes anything that ``read`` would refuse."""
    if spec.kind not in (TaskKind.SPANS, TaskKind.CHOICE):
        raise refuse_kind("DocBin", spec, "spans and labels")
    vocab = Vocab()
    found = DocBin(store_user_data=True)
    token_bytes, size = _VALUE_BYTES * len(found.attrs) + 1, 0
    for one in records:
        document = _document(vocab, spec, one)
        size += len(document) * token_bytes
        if size > LARGEST:
            raise _too_much_to_write()
        found.add(document)
    packed = found.to_bytes()
    if not _fits(BytesIO(packed)):
        raise _too_much_to_write()
    file.write(packed)
    return {}


def _fits(file: BinaryIO) -> bool:
    """Whether it is within ``LARGEST``: it is unpacked piece by piece, without keeping any."""
    unpacking, size = zlib.decompressobj(), 0
    while not unpacking.eof and (packed := unpacking.unconsumed_tail or file.read(_PIECE)):
        size += len(unpacking.decompress(packed, _PIECE))
        if size > LARGEST:
            return False
    return True


def _too_much_to_write() -> Invalid:
    return Invalid(
        f"the DocBin would be over {LARGEST // 1024 // 1024} MiB when it is unpacked",
        code="export-size",
        hint="write one split at a time, or jsonl or parquet, which have no limit",
    )


def _fields(document: Doc) -> dict[str, Any]:
    spans = document.ents or document.spans.get(_GROUP, ())
    fields = {name: document.user_data[name] for name in _BESIDE if name in document.user_data}
    fields["text"] = document.text
    fields["spans"] = [
        {"start": span.start_char, "end": span.end_char, "label": span.label_} for span in spans
    ]
    likely = [label for label, value in document.cats.items() if value >= _LIKELY]
    if len(likely) == 1:
        fields["label"] = likely[0]
    return fields


def _document(vocab: Any, spec: TaskSpec, one: Record) -> Doc:
    spans = one.target["spans"] if spec.kind is TaskKind.SPANS else []
    words, spaces = _words(one.text, spans)
    document = Doc(vocab, words=words, spaces=spaces)
    if spec.kind is TaskKind.CHOICE:
        document.cats = {label: float(label == one.target["label"]) for label in spec.labels}
    marked = [document.char_span(s["start"], s["end"], label=s["label"]) for s in spans]
    document.ents = marked
    document.user_data.update(weight=one.weight, split=one.split)
    if one.group is not None:
        document.user_data["group"] = one.group
    return document


def _words(text: str, spans: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[bool]]:
    """Tokens and whether a space follows; other white space is a token, as in spaCy."""
    ends = {span["end"] for span in spans}
    begins = {span["start"] for span in spans}
    words: list[str] = []
    spaces: list[bool] = []
    for start, end in cut(text, spans):
        gap = text[start] == " " and words and start not in begins
        if gap and not spaces[-1] and start + 1 not in ends:
            spaces[-1] = True
            start += 1
        if start < end:
            words.append(text[start:end])
            spaces.append(False)
    return words, spaces
