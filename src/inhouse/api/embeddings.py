"""Embeddings in OpenAI's format, from one model."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from inhouse.api.auth import Access
from inhouse.api.body import Receive, Scope, convert, parse, read_body
from inhouse.api.hangup import unless_gone
from inhouse.api.problems import CALL, BadRequest
from inhouse.api.respond import Response, as_json
from inhouse.api.unit import unit_of
from inhouse.bootstrap import App
from inhouse.client.embeddings import (
    EmbeddingItem,
    EmbeddingRequest,
    EmbeddingResponse,
    EmbeddingUsage,
)
from inhouse.core.ids import new_id
from inhouse.gateway.embed import EMBEDDING_TIMEOUT_S, embed
from inhouse.gateway.entry import DirectCall
from inhouse.gateway.keys import Permission
from inhouse.inference.base import Embeddings

MOST_INPUTS: Final = 2048
_OURS: Final = frozenset({"model", "input"})
_object_decoder = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


class EmbeddingRoute:
    """The handler of ``POST /v1/embeddings``."""

    def __init__(self, app: App, access: Access) -> None:
        self._app = app
        self._access = access

    async def create(self, scope: Scope, receive: Receive) -> Response:
        """Read a request, ask, answer."""
        who = self._access.require(scope, Permission.CALL)
        body = parse(_object_decoder, await read_body(scope, receive, self._app.body_limit))
        request = convert(body, EmbeddingRequest)
        inputs = inputs_of(request.input)
        scope[CALL] = new_id()
        call = DirectCall(
            interaction_id=scope[CALL],
            reference=request.model,
            input=request.input,
            timeout_s=EMBEDDING_TIMEOUT_S,
            unit=unit_of(scope, request.user),
            key=who.key,
        )
        options = {name: value for name, value in body.items() if name not in _OURS}
        found = await unless_gone(scope, embed(self._app.gateway, call, inputs, options))
        made = found.value
        coded = request.encoding_format == "base64"
        return as_json(made.raw or _encode(response(made, request.model, coded=coded)), found)


def inputs_of(given: str | Sequence[Any]) -> list[Any]:
    """What to embed, one by one: texts, or lists of token ids.

    Raises BadRequest as OpenAI does: for nothing, an empty text, texts mixed with token ids, and
    more than 2048 inputs.
    """
    inputs: list[Any] = [given] if isinstance(given, str) or _are_tokens(given) else list(given)
    if not inputs or any(not one for one in inputs if not isinstance(one, int)):
        raise _refused("there is nothing to embed, or an empty text among the inputs")
    if len({type(one) for one in inputs}) > 1 or isinstance(inputs[0], int):
        raise _refused("all inputs are texts, or all are lists of token ids")
    if len(inputs) > MOST_INPUTS:
        raise _refused(f"{len(inputs)} inputs are more than {MOST_INPUTS}")
    return inputs


def response(made: Embeddings, reference: str, *, coded: bool) -> EmbeddingResponse:
    """The whole answer; ``coded``: as base64 of little-endian float32."""
    return EmbeddingResponse(
        data=[
            EmbeddingItem(index=at, embedding=_coded(vector) if coded else list(vector))
            for at, vector in enumerate(made.vectors)
        ],
        model=reference,
        usage=EmbeddingUsage(
            prompt_tokens=made.usage.input_tokens, total_tokens=made.usage.input_tokens
        ),
    )


def _coded(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _are_tokens(given: Sequence[Any]) -> bool:
    return bool(given) and all(isinstance(one, int) for one in given)


def _refused(why: str) -> BadRequest:
    return BadRequest(
        f"input: {why}",
        field="input",
        code="embedding-input",
        hint="send a text, up to 2048 texts, or lists of token ids; none of them empty",
    )
