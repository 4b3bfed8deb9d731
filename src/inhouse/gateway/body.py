"""OpenAI's chat request, decoded only as far as somebody looks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from inhouse.core.errors import Invalid
from inhouse.core.hashing import digest_of
from inhouse.core.nesting import DEEPEST, is_too_deep

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OURS: Final = frozenset({"model", "stream"})
_BYTES: Final = ("input_audio", "file")
_DATA: Final = "data:"
_LIST: Final = ord("[")


class _Plain(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The usual message: nothing in it but texts."""

    role: str
    content: str | None = None
    name: str | None = None
    tool_call_id: str | None = None


class _Speaker(msgspec.Struct, gc=False):
    """A message, as far as everybody must be able to rely on it."""

    role: str
    content: msgspec.Raw = msgspec.Raw(b"null")


_plain = msgspec.json.Decoder(Annotated[list[_Plain], msgspec.Meta(min_length=1)])
_speakers = msgspec.json.Decoder(list[_Speaker])


class ChatBody:
    """A chat request in JSON. ``fields`` are its fields, each as the JSON that it came as."""

    __slots__ = ("_has_parts", "_is_plain", "fields")

    def __init__(self, fields: Mapping[str, msgspec.Raw], *, is_plain: bool) -> None:
        self.fields = fields
        self._is_plain = is_plain
        self._has_parts = not is_plain

    @classmethod
    def of(cls, raw: bytes) -> ChatBody:
        """Take a request apart. Raises msgspec.DecodeError, UnicodeDecodeError and RecursionError
        for what is not JSON in UTF-8 from end to end, and for what could never be read again: half
        a surrogate pair, a number out of range, messages of more than ``DEEPEST`` levels."""
        fields = _fields.decode(raw)
        messages = fields.get("messages")
        is_plain = messages is not None and _are_plain(messages)
        for name, value in fields.items():
            if name != "messages":
                _decode(value)
            elif not is_plain and is_too_deep(_decode(value)):
                raise RecursionError(f"more than {DEEPEST} levels")
        return cls(fields, is_plain=is_plain)

    def passed_on(self) -> dict[str, msgspec.Raw]:
        """Every field that is the model's business."""
        return {name: value for name, value in self.fields.items() if name not in _OURS}

    def decoded(self) -> dict[str, Any]:
        """The same as values."""
        return {name: msgspec.json.decode(value) for name, value in self.passed_on().items()}

    def wants_usage(self) -> bool:
        """Whether the token counts of a stream are asked for."""
        options = self.fields.get("stream_options")
        found = None if options is None else msgspec.json.decode(options)
        return isinstance(found, Mapping) and found.get("include_usage") is True

    def check_messages(self) -> None:
        """Raise Invalid (code ``messages``) unless there are messages, each with a role."""
        if self._is_plain:
            return
        try:
            found = _speakers.decode(self.fields.get("messages", msgspec.Raw(b"null")))
        except msgspec.ValidationError:
            raise Invalid(
                "messages is a list of objects, each with a role", code="messages"
            ) from None
        if not found:
            raise Invalid("messages is a list with at least one message", code="messages")
        self._has_parts = any(memoryview(one.content)[0] == _LIST for one in found)

    def recorded(self) -> Any:
        """The messages as they are stored: pictures, sound and files that they hold only by
        SHA-256."""
        raw = self.fields["messages"]
        if not self._has_parts:
            return raw
        return [
            {**one, "content": [_part(part) for part in one["content"]]}
            if isinstance(one.get("content"), list)
            else one
            for one in msgspec.json.decode(raw)
        ]


def _are_plain(messages: msgspec.Raw) -> bool:
    try:
        _plain.decode(messages)
    except msgspec.ValidationError:
        return False
    return True


def _decode(value: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(value)
    except msgspec.ValidationError as error:
        raise msgspec.DecodeError(str(error)) from None


def _part(part: Any) -> Any:
    if not isinstance(part, Mapping) or part.get("type") == "text":
        return part
    for name, held in part.items():
        if _is_bytes(held) or (name in _BYTES and isinstance(held, Mapping) and "url" not in held):
            return {"type": part.get("type"), "sha256": digest_of(held)}
    return part


def _is_bytes(held: Any) -> bool:
    """Whether a value is, or holds, a ``data:`` URL."""
    if isinstance(held, str):
        return held[: len(_DATA)].lower() == _DATA
    values = held.values() if isinstance(held, Mapping) else held if isinstance(held, list) else ()
    return any(map(_is_bytes, values))
