"""OpenAI's embeddings on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from inhouse.client.models import Key, User


class EmbeddingRequest(Struct, kw_only=True, frozen=True):
    """The fields of OpenAI's request that Inhouse reads; an upstream gets the others as well.

    ``model``: ``embedded/<base>`` or ``<upstream>/<model>``. ``input``: a text, up to 2048 texts,
    or, for upstreams that take them, token ids or lists of them. ``encoding_format``: numbers, or
    base64 of little-endian float32. ``dimensions``: an own model has one length only. ``user``:
    the unit of the call when the header ``x-inhouse-unit`` is absent; "" is none.
    """

    model: Key
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: User | None = None


class EmbeddingItem(Struct, kw_only=True, frozen=True):
    """One vector; ``index`` is the position of its input."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingUsage(Struct, kw_only=True, frozen=True):
    """Tokens as the model counted them."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(Struct, kw_only=True, frozen=True):
    """The vectors, in the order of the inputs. ``model`` is the reference that made them, or what
    an upstream calls itself."""

    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage
    object: str = "list"
