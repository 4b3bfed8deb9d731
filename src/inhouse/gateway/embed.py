"""Embeddings of one model. Inputs are recorded, vectors are not."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from inhouse.core.errors import Invalid
from inhouse.gateway.call import Gateway
from inhouse.gateway.entry import Direct, DirectCall
from inhouse.gateway.trace import Trace
from inhouse.inference.base import Backend, Embedding, Embeddings

EMBEDDING_TIMEOUT_S: Final = 600.0
_FLOAT32_BYTES: Final = 4


async def embed(
    gateway: Gateway, call: DirectCall, inputs: Sequence[Any], options: Mapping[str, Any]
) -> Direct[Embeddings]:
    """Ask one model for vectors. Recorded of them are ``count`` and ``dimensions``.

    Raises what ``Gateway.direct`` raises, and Invalid (code ``no-embeddings``) for a model that
    makes none.
    """

    async def ask(backend: Backend, trace: Trace) -> Embeddings:
        if not hasattr(backend, "embed"):
            raise Invalid(
                f"{backend.reference} makes no embeddings",
                code="no-embeddings",
                hint="embedded/minilm-l6 does, and so do the embedding models of upstreams",
            )
        found = await cast("Embedding", backend).embed(inputs, options)
        trace.note_usage(backend, found.usage)
        return found

    def output(found: Embeddings) -> Any:
        return {"count": len(inputs), "dimensions": dimensions_of(found)}

    return await gateway.direct(call, ask, output)


class _Item(msgspec.Struct):
    embedding: msgspec.Raw


class _Answer(msgspec.Struct):
    data: list[_Item]


_answer = msgspec.json.Decoder(_Answer)


def dimensions_of(found: Embeddings) -> int:
    """The length of the vectors, read from the first one; 0 where an upstream's answer hides it."""
    if found.vectors:
        return len(found.vectors[0])
    try:
        first = msgspec.json.decode(_answer.decode(found.raw).data[0].embedding)
        if isinstance(first, str):
            return len(base64.b64decode(first)) // _FLOAT32_BYTES
        return len(first)
    except (msgspec.MsgspecError, binascii.Error, IndexError, TypeError):
        return 0
