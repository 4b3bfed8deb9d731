"""Spans: labelled places in a text, and where the quotes of a model stand. Pure.

Spans are flat: two of them never overlap. Offsets count code points. Models are asked for quotes,
never for offsets. A quote is searched as it was said, then whatever its case, blanks and kind of
quotation marks; whole words before parts of words. Places follow the order of the quotes where the
text allows it, equal quotes take successive ones, and a quote with the words of another in it is
placed before that. A quote that stands only inside of longer ones is left to them; one that is
nowhere in the text is an error.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from inhouse.core.errors import Invalid
from inhouse.tasks.reading import Unparsable, json_in

_MOST = 1000
_MOST_QUOTES = 300
_MOST_WORDS, _FEW_WORDS = 4, 10_000
"""Distinct quotes have at most so many times the characters of the text, and so many more."""
_SHOWN = 80
_TEXT_KEYS = ("text", "quote", "entity", "span")
_LABEL_KEYS = ("label", "type", "category")
_LIST_KEYS = ("spans", "entities")
_BLANKS = re.compile(r"\s+")
_ALIKE = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "ς": "σ", "ſ": "s"})


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of the text with their label."""

    text: str
    label: str


def check_spans(labels: Sequence[str], spans: Any, text: str | None) -> list[dict[str, Any]]:
    """Spans in their one form, sorted by place. Raises Invalid that says what does not fit.

    A span is ``{"start", "end", "label"}`` with or without ``text``, or ``{"text", "label"}``,
    whose place is searched. With ``text`` places are verified and the words filled in; without it
    what the spans say is taken as it is, and those without a place come last.
    """
    if isinstance(spans, str) or not isinstance(spans, Sequence) or len(spans) > _MOST:
        raise _misfit(f"spans are a list of at most {_MOST}")
    read = [_span(labels, span) for span in spans]
    placed = [span for span in read if "start" in span]
    quotes = [span for span in read if "start" not in span]
    if text is not None:
        placed = [_verified(span, text) for span in placed]
        if quotes:
            placed += _found(quotes, text)
            quotes = []
    placed.sort(key=lambda span: (span["start"], span["end"], span["label"]))
    for before, after in itertools.pairwise(placed):
        if after["start"] < before["end"]:
            raise _misfit(f"spans overlap at {after['start']}")
    return placed + quotes


def parse_spans(name: str, labels: Sequence[str], said: str, text: str) -> list[dict[str, Any]]:
    """The spans that a model quotes. Raises Unparsable.

    Read are ``{"spans": [{"text", "label"}, ...]}``, the bare list, and ``{label: [quote, ...]}``.
    """
    found = json_in(said)
    lists = [quotes for value in found if (quotes := _listed(name, labels, value)) is not None]
    if not lists:
        raise Unparsable("no list of spans stands there")
    if any(quotes != lists[0] for quotes in lists):
        raise Unparsable("several lists of spans stand there")
    return locate(_quotes(labels, lists[0]), text)


def locate(quotes: Sequence[Quote], text: str) -> list[dict[str, Any]]:
    """Where the quotes stand, as spans sorted by place. Raises Unparsable that names the quote
    which is not in the text, or which has two labels for one place, and for more than 300 quotes,
    or quotes with several times the words of the text."""
    _check_work(quotes, text)
    places = _Places(text)
    put: dict[int, tuple[int, int]] = {}
    for index in _turns([quote.text for quote in quotes]):
        earlier = max((put[at][1] for at in put if at < index), default=0)
        later = min((put[at][0] for at in put if at > index), default=len(text))
        place = places.take(quotes[index], earlier, later)
        if place is not None:
            put[index] = place
    spans = [_at(text, start, end, quotes[index].label) for index, (start, end) in put.items()]
    return sorted(spans, key=lambda span: (span["start"], span["end"]))


def _check_work(quotes: Sequence[Quote], text: str) -> None:
    """Placing takes time by quotes times text, and it may run where calls are answered."""
    if len(quotes) > _MOST_QUOTES:
        raise Unparsable(f"more than {_MOST_QUOTES} quotes are named")
    said = sum(len(words) for words in {quote.text for quote in quotes})
    if said > _MOST_WORDS * len(text) + _FEW_WORDS:
        raise Unparsable("the quotes say far more than the text")


class _Places:
    """The places of a text that are still free."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = _Words(text)
        self._taken = bytearray(len(text))
        self._labels: dict[tuple[int, int], str] = {}
        self._left: dict[str, list[tuple[int, int]]] = {}
        self._lost: dict[str, set[str]] = {}

    def take(self, quote: Quote, earlier: int, later: int) -> tuple[int, int] | None:
        """The first free place between two, else the first; None when longer quotes, or the same
        one said before, have them all."""
        if quote.text not in self._left:
            self._left[quote.text] = self._words.places(quote.text)
            self._lost[quote.text] = set()
            if not self._left[quote.text]:
                raise Unparsable(f"{_short(quote.text)} is not in the text")
        place = self._next(quote.text, earlier)
        if place is None or place[1] > later:
            place = self._next(quote.text, 0)
        if place is not None:
            start, end = place
            self._taken[start:end] = b"\1" * (end - start)
            self._labels[place] = quote.label
        elif (others := self._lost[quote.text]) and quote.label not in others:
            raise Unparsable(f"{_short(quote.text)} is said to be {quote.label} and another")
        return place

    def _next(self, quote: str, start: int) -> tuple[int, int] | None:
        """The first free place from ``start`` on; taken ones on the way are struck off."""
        left = self._left[quote]
        at = end = bisect_left(left, (start, 0))
        while end < len(left) and self._taken.find(1, *left[end]) >= 0:
            if (label := self._labels.get(left[end])) is not None:
                self._lost[quote].add(label)
            end += 1
        del left[at:end]
        return left[at] if at < len(left) else None


def _turns(quotes: Sequence[str]) -> list[int]:
    """In which order quotes are placed: those with the words of others in them first, the longest
    of all, then the others as they were said."""
    folded = [quote.casefold() for quote in quotes]
    distinct = set(folded)
    outer = {long for long in distinct if any(_has_words(long, short) for short in distinct)}
    return sorted(
        range(len(quotes)), key=lambda at: (-len(folded[at]) if folded[at] in outer else 0, at)
    )


def _has_words(long: str, short: str) -> bool:
    at = long.find(short)
    return at >= 0 and long != short and _whole(long, at, at + len(short))


class _Words:
    """A text in which quotes are searched, each in time by the text's length."""

    def __init__(self, text: str) -> None:
        self._text = text

    def places(self, quote: str) -> list[tuple[int, int]]:
        """Where a quote stands, in order: as whole words, else anywhere; as it is said, else
        however it is written."""
        exact = list(_matches(quote, self._text))
        if whole := self._whole(exact):
            return whole
        folded, _ = self._folded
        wanted = _BLANKS.sub(" ", _alike(quote))
        loose = [self._place(*match) for match in _matches(wanted, folded)]
        return self._whole(loose) or exact or loose

    def _whole(self, places: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return [place for place in places if _whole(self._text, *place)]

    @cached_property
    def _folded(self) -> tuple[str, list[tuple[int, int]]]:
        """The text with small letters and single blanks; and by place there, the longer blanks: how
        many signs have been left out behind each."""
        alike = _alike(self._text)
        gone, left_out = 0, []
        for blanks in _BLANKS.finditer(alike):
            if (more := blanks.end() - blanks.start() - 1) > 0:
                left_out.append((blanks.start() - gone, gone + more))
                gone += more
        return _BLANKS.sub(" ", alike), left_out

    def _place(self, start: int, end: int) -> tuple[int, int]:
        """A place of the folded text in the text."""
        return self._unfolded(start), self._unfolded(end - 1) + 1

    def _unfolded(self, at: int) -> int:
        _, left_out = self._folded
        before = bisect_left(left_out, (at, 0))
        return at + (left_out[before - 1][1] if before else 0)


def _matches(words: str, text: str) -> Iterator[tuple[int, int]]:
    """Where words stand, without overlaps. ``find`` needs no more time for words that repeat."""
    at = text.find(words)
    while at >= 0:
        yield at, at + len(words)
        at = text.find(words, at + len(words))


def _alike(text: str) -> str:
    """The text with small letters and one kind of each quotation mark; every sign stays one."""
    small = text.lower()
    if len(small) != len(text):
        small = "".join(sign.lower() if len(sign.lower()) == 1 else sign for sign in text)
    return small.translate(_ALIKE)


def _whole(text: str, start: int, end: int) -> bool:
    """Whether no word goes on over an edge."""
    before = start > 0 and text[start - 1].isalnum() and text[start].isalnum()
    after = end < len(text) and text[end].isalnum() and text[end - 1].isalnum()
    return not before and not after


def _listed(name: str, labels: Sequence[str], value: Any) -> list[Any] | None:
    """The list of spans that a JSON value is or holds."""
    if isinstance(value, list):
        return value
    for key in (*_LIST_KEYS, name):
        if isinstance(inner := value.get(key), list):
            return inner
    known = {label.casefold() for label in labels}
    by_label = value and all(key.casefold() in known for key in value)
    if by_label and all(isinstance(quotes, list) for quotes in value.values()):
        return [{"text": q, "label": label} for label, quotes in value.items() for q in quotes]
    return None


def _quotes(labels: Sequence[str], spans: Iterable[Any]) -> list[Quote]:
    folded = {label.casefold(): label for label in reversed(labels)}
    quotes = []
    for span in spans:
        if not isinstance(span, Mapping):
            raise Unparsable("a span is an object with text and label")
        words = next((span[key] for key in _TEXT_KEYS if key in span), None)
        label = next((span[key] for key in _LABEL_KEYS if key in span), None)
        if not isinstance(words, str) or not words.strip():
            raise Unparsable("a span has no text")
        if not isinstance(label, str) or label.strip().casefold() not in folded:
            raise Unparsable(f"{_short(label)} is none of the labels")
        given = label.strip()
        quotes.append(Quote(words.strip(), given if given in labels else folded[given.casefold()]))
    return quotes


def _span(labels: Sequence[str], span: Any) -> dict[str, Any]:
    """One span of a typed output, as far as it can be read without the text."""
    names = set(span) if isinstance(span, Mapping) else set()
    placed = {"start", "end", "label"}
    if names not in (placed, placed | {"text"}, {"text", "label"}):
        raise _misfit("a span has start, end and label, or text and label")
    if not isinstance(span["label"], str) or span["label"] not in labels:
        raise Invalid(
            f"{_short(span['label'])} is no label",
            code="output",
            hint="labels: " + ", ".join(labels),
        )
    words = span.get("text", " ")
    if not isinstance(words, str) or not words:
        raise _misfit("the text of a span is empty or no text")
    if "start" not in names:
        if not words.strip():
            raise _misfit("the text of a span is blank")
        return {"text": words.strip(), "label": span["label"]}
    start, end = span["start"], span["end"]
    if type(start) is not int or type(end) is not int or not 0 <= start < end:
        raise _misfit(f"a span goes from {_short(start)} to {_short(end)}")
    found = {"start": start, "end": end, "label": span["label"]}
    return {**found, "text": words} if "text" in names else found


def _verified(span: Mapping[str, Any], text: str) -> dict[str, Any]:
    start, end = span["start"], span["end"]
    if end > len(text):
        raise _misfit(f"a span ends at {end}, the text at {len(text)}")
    if span.get("text", text[start:end]) != text[start:end]:
        raise _misfit(f"at {start} to {end} the text has {_short(text[start:end])}")
    return _at(text, start, end, span["label"])


def _found(quotes: Sequence[Mapping[str, Any]], text: str) -> list[dict[str, Any]]:
    try:
        return locate([Quote(quote["text"], quote["label"]) for quote in quotes], text)
    except Unparsable as reason:
        raise _misfit(str(reason)) from None


def _at(text: str, start: int, end: int, label: str) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label, "text": text[start:end]}


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."


def _misfit(message: str) -> Invalid:
    return Invalid(
        message,
        code="output",
        hint='{"start", "end", "label"} in code points, or {"text", "label"}; none overlap',
    )
