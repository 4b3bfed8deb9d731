"""What a ScriptedUpstream may do with a request for embeddings or decisions: answer it well.

Every other behaviour (statuses, hangs, broken HTTP) serves for these requests too.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from inhouse.testing.upstream_exchange import Behaviour, Exchange


def embeddings(
    vectors: list[list[float]] | None = None, *, size: int = 8, input_tokens: int = 5
) -> Behaviour:
    """One vector for each input: those given, or ``size`` numbers that depend on the input."""

    async def behave(exchange: Exchange) -> None:
        inputs = exchange.request.body.get("input", [])
        inputs = [inputs] if isinstance(inputs, str) else inputs
        given = [vector_of(one, size) for one in inputs] if vectors is None else vectors
        data = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(given)
        ]
        usage = {"prompt_tokens": input_tokens, "total_tokens": input_tokens}
        body = {"object": "list", "data": data, "model": exchange.request.model, "usage": usage}
        await exchange.respond(200, json.dumps(body).encode())

    return behave


def vector_of(text: Any, size: int = 8) -> list[float]:
    """Numbers in [0, 1) that stand for an input, the same each time."""
    digest = hashlib.blake2b(json.dumps(text).encode(), digest_size=size).digest()
    return [byte / 256 for byte in digest]
