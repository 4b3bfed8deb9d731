"""Keeps what the language model says to a grammar, token by token (llguidance). Only the child
imports this."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer

_MOST_SPANS = 32
_LONGEST_QUOTE = 120
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_CHUNK = re.compile(r"\w+|\s+|[^\w\s]")
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_ENDS_TEXT = ('"',)
_ENDS_VALUE = ("]", "}", ",", '"')
_ROOM_TO_END = 8

Wish = Mapping[str, Any]


class Ungrammatical(ValueError):
    """There is no grammar for what was asked; the text says why."""


class Grammars:
    """Makes constraints for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._hub = tokenizer

    def constraint(self, wish: Wish) -> Constraint:
        """What an answer must be: ``{"schema": {...}, "lenient": bool, "outline": value}``, where
        ``lenient`` ignores what the grammar cannot express; or ``{"quotes": text, "labels":
        [...]}``: spans whose texts are quotes of ``text``. Raises Ungrammatical."""
        if "schema" in wish:
            grammar = LLMatcher.grammar_from_json_schema(
                dict(wish["schema"]), overrides={**_SPACING, "lenient": wish["lenient"]}
            )
            outline = wish["outline"]
        else:
            grammar = LLMatcher.grammar_from_lark(quotes(wish["quotes"], wish["labels"]))
            longest = max(wish["labels"], key=len)
            outline = {"spans": [{"text": "", "label": longest}]}
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise Ungrammatical(f"the schema cannot be kept to: {matcher.get_error()}")
        room = len(self._encode(_quoted(outline))) + _ROOM_TO_END
        return Constraint(matcher, self._hub, self._closers, room)

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        return from_tokenizer(self._hub)

    @cached_property
    def _closers(self) -> Mapping[str, int]:
        return {text: self._encode(text)[0] for text in _ENDS_VALUE}

    def _encode(self, text: str) -> list[int]:
        return list(self._hub(text, add_special_tokens=False).input_ids)


class Constraint:
    """Where one answer stands in its grammar. ``room``: tokens that its end may need."""

    def __init__(
        self, matcher: LLMatcher, tokenizer: Any, closers: Mapping[str, int], room: int
    ) -> None:
        self.room = room
        self._matcher = matcher
        self._tokenizer = tokenizer
        self._closers = closers

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped())

    @property
    def is_whole(self) -> bool:
        """Whether it may end here."""
        return bool(self._matcher.is_accepting())

    def forced(self) -> list[int]:
        """Tokens that must follow; they count as said."""
        tokens = list(self._matcher.compute_ff_tokens())
        if tokens and not self._matcher.consume_tokens(tokens):
            raise Ungrammatical(self._matcher.get_error())
        return tokens

    def say(self, token: int) -> None:
        """Note a token that was said; one of those allowed."""
        if not self._matcher.consume_token(token):
            raise Ungrammatical(self._matcher.get_error())

    def allowed(self, logits: Any) -> Any:
        """The logits with minus infinity for what may not follow."""
        return logits.masked_fill(~self._mask(len(logits)), float("-inf"))

    def closing(self, logits: Any, said: Sequence[int]) -> Any:
        """As ``allowed``, but with what ends the answer soonest alone where there is such a token:
        the end of a text, of a list, of an object."""
        mask = self._mask(len(logits))
        if self.is_whole:
            mask[:] = False
            mask[self._tokenizer.eos_token_id] = True
        else:
            text = _ESCAPED.sub("", self._tokenizer.decode(said))
            ends = _ENDS_TEXT if text.count('"') % 2 else _ENDS_VALUE
            for token in (self._closers[end] for end in ends):
                if mask[token]:
                    mask[:] = False
                    mask[token] = True
                    break
        return logits.masked_fill(~mask, float("-inf"))

    def _mask(self, size: int) -> Any:
        bias = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)
        mask = torch.zeros(size, dtype=torch.bool)
        mask[: len(bias)] = bias[:size] != 0
        return mask


def quotes(text: str, labels: Sequence[str]) -> str:
    """The grammar (llguidance's Lark) of ``{"spans": [{"text": ..., "label": ...}, ...]}`` whose
    texts are whole words of ``text`` in a row, and not blank."""
    chunks = [_quoted(chunk)[1:-1] for chunk in _CHUNK.findall(text)] or [""]
    lines = [
        f'start: "{{\\"spans\\": [" (item (", " item){{0,{_MOST_SPANS - 1}}})? "]}}"',
        'item: "{\\"text\\": \\"" QUOTE "\\", \\"label\\": " label "}"',
        f'QUOTE: WORDS & /([^\\s\\\\]|\\\\["\\\\])((.|\\n){{0,{_LONGEST_QUOTE}}}\\S)?/',
        f"WORDS: %regex {_quoted({'substring_chunks': chunks})}",
        "label: " + " | ".join(_quoted(_quoted(label)) for label in labels),
    ]
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    return msgspec.json.encode(value).decode()
