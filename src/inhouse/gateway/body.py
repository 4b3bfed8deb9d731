"""OpenAI's chat request, decoded only as far as somebody looks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from inhouse.core.errors import Invalid
from inhouse.core.hashing import digest_of

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OURS: Final = frozenset({"model", "stream"})
_MEDIA: Final = ("image_url", "input_audio", "file")
_LIST: Final = ord("[")
_ESCAPE: Final = b"\\u"


class _Speaker(msgspec.Struct, gc=False):
    """A message, as far as everybody must be able to rely on it."""

    role: str
    content: msgspec.Raw = msgspec.Raw(b"null")


_speakers = msgspec.json.Decoder(list[_Speaker])


class ChatBody:
    """A chat request in JSON. ``fields`` are its fields, each as the JSON that it came as."""

    __slots__ = ("_has_parts", "fields")

    def __init__(self, fields: Mapping[str, msgspec.Raw]) -> None:
        self.fields = fields
        self._has_parts = True

    @classmethod
    def of(cls, raw: bytes) -> ChatBody:
        """Take a request apart. Raises msgspec.DecodeError and UnicodeDecodeError for what is not
        JSON in UTF-8 from end to end."""
        if b"\\" in raw and _ESCAPE in raw:
            msgspec.json.decode(raw)  # half a surrogate pair could never be read again
        fields = _fields.decode(raw)
        raw.decode("utf-8")
        return cls(fields)

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


def _part(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, Mapping) else None
    held = part.get(kind) if kind in _MEDIA else None
    url = held.get("url", "data:") if isinstance(held, Mapping) else ""
    if not isinstance(url, str) or not url.startswith("data:"):
        return part
    return {"type": kind, "sha256": digest_of(held)}
