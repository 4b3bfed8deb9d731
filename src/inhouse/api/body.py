"""Reading a request's body: bounded, JSON only, and with messages that name the field at fault."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec

from inhouse.api.problems import BadRequest, FieldError, TooLarge, UnsupportedType

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
T = TypeVar("T")

LIMIT: Final = 10 * 1024 * 1024
_HALF_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}[^\\]")
_LONGEST_NAME: Final = 64
_AT = re.compile(r"(?P<what>.*?)(?: - at (?P<where>.*))?\Z", re.DOTALL)
_PATH = re.compile(r"(?:(?P<part>`key`) in )?`\$(?P<path>.*)`\Z")
_MISSING = re.compile(r"Object missing required field `(.*)`\Z", re.DOTALL)
_UNKNOWN = re.compile(
    r"Object contains unknown field `(.*?)`(?: - at (?P<where>`\$[\w.\[\]]*`))?\Z", re.DOTALL
)
_TYPE = re.compile(r"Expected `(.*?)`, got `(.*)`\Z")
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


_NAMED: Final = "inhouse.headers"


class Gone(Exception):
    """The client hung up before its request was complete."""


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that (lower-case) name, as text."""
    named = scope.get(_NAMED)
    if named is None:
        named = scope[_NAMED] = dict(scope["headers"][::-1])
    value = named.get(name)
    return None if value is None else str(value.decode("latin-1"))


async def read_body(scope: Scope, receive: Receive, limit: int = LIMIT) -> bytes:
    """The whole body, at most ``limit`` bytes. Raises TooLarge, UnsupportedType, Gone.

    Whoever declares no type is refused too: a browser sends such a body to another site unasked.
    """
    declared = header(scope, b"content-type") or "nothing"
    if not _is_json(declared):
        raise UnsupportedType(
            f"the body is declared as {declared}", hint="send content-type: application/json"
        )
    length = header(scope, b"content-length")
    if length is not None and length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    return await _collect(receive, limit)


def is_form(scope: Scope) -> bool:
    """Whether the body is declared as the form of a page."""
    declared = header(scope, b"content-type") or ""
    return declared.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"


async def read_form(receive: Receive, limit: int) -> bytes:
    """The whole body of a form, at most ``limit`` bytes. Raises TooLarge, Gone."""
    return await _collect(receive, limit)


@lru_cache(maxsize=64)
def _is_json(declared: str) -> bool:
    return declared.partition(";")[0].strip().lower() == "application/json"


async def _collect(receive: Receive, limit: int) -> bytes:
    message = await receive()
    body = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body") and len(body) <= limit:
        return bytes(body)
    return await _collect_parts(message, receive, limit)


async def _collect_parts(message: MutableMapping[str, Any], receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"the body is over {limit / 1024 / 1024:g} MiB",
        hint="send less in one call, or raise server.body_limit_mb",
    )


def parse(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a body. Raises BadRequest when it is not JSON, FieldError when a field is wrong."""
    return parse_with(decoder.decode, body)


def parse_with(decode: Callable[[bytes], T], body: bytes) -> T:
    """The same with any function that raises what a decoder raises."""
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(
            _why(error, body), field="", code="not-json", hint="see RFC 8259"
        ) from None


def convert(value: Any, type_: type[T]) -> T:
    """Check a decoded value against a struct. Raises FieldError."""
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None


def _why(error: Exception, body: bytes) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "the body is not UTF-8"
    if isinstance(error, RecursionError):
        return "the body is not JSON that we read: it is nested too deeply"
    reason = str(error).removeprefix("JSON is malformed: ")
    if "out of range" in reason:
        return "the body is not JSON that we read: it holds a number out of range"
    is_cut = "truncated" in reason or "hex escape" in reason
    if "surrogate" in reason or (is_cut and _HALF_PAIR.search(body)):
        return "the body is not JSON: it holds half of a surrogate pair, which is no character"
    if "truncated" in reason:
        return "the body is not JSON: it ends too early" if body else "the body is empty"
    return f"the body is not JSON: {reason}"


def _explain(text: str) -> FieldError:
    """One of msgspec's messages in our words, with the field's path in front."""
    if found := _UNKNOWN.match(text):
        name = found[1] if len(found[1]) <= _LONGEST_NAME else f"{found[1][:_LONGEST_NAME]}..."
        field = _join(_path(found["where"]), name or '""')
        return FieldError(f"{field} is no field of this request", field=field, code="unknown-field")
    parts = _AT.match(text)
    what, where = (parts["what"], parts["where"]) if parts else (text, None)
    path = _path(where)
    if found := _MISSING.match(what):
        field = _join(path, found[1])
        return FieldError(f"{field} is missing", field=field, code="missing-field")
    return FieldError(f"{path or 'the body'}: {_reason(what)}", field=path)


def _path(where: str | None) -> str:
    found = _PATH.match(where or "")
    if found is None:
        return ""
    path = found["path"].replace("[...]", ".*").lstrip(".")
    return f"a key of {path}" if found["part"] else path


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _reason(what: str) -> str:
    if found := _TYPE.match(what):
        return f"expected {_words(found[1])}, got {_words(found[2])}"
    for kind, words in _WORDS.items():
        what = what.replace(f"`{kind}`", words)
    return what[:1].lower() + what[1:].replace("`", "")


def _words(kinds: str) -> str:
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds.split(" | "))
