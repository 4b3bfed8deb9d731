"""What a ScriptedUpstream may do with a chat's ``response_format``: keep to it, or refuse it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Collection
from typing import Any, Final

import jsonschema_rs

from inhouse.testing.upstream_behaviours import answer, status
from inhouse.testing.upstream_exchange import Behaviour, Exchange

FORMS: Final = ("json_schema", "json_object")


def structured(
    value: Any, *, takes: Collection[str] = FORMS, needs: str | None = None, code: int = 400
) -> Behaviour:
    """Answer with ``value`` as JSON.

    A ``response_format`` whose type is not among ``takes`` is refused with ``code``, by name; so is
    a request without the type that ``needs`` names, a schema without a name or that is none, and a
    value that does not fit the schema asked for.
    """

    def behave(exchange: Exchange) -> Awaitable[None]:
        asked = exchange.request.body.get("response_format") or {}
        reason = _refusal(asked, value, takes, needs)
        done = answer(json.dumps(value)) if reason is None else status(code, reason)
        return done(exchange)

    return behave


def _refusal(asked: Any, value: Any, takes: Collection[str], needs: str | None) -> str | None:
    kind = asked.get("type")
    if kind is not None and kind not in takes:
        return f"response_format of type {kind!r} is not supported"
    if needs is not None and kind != needs:
        return f"a request without {needs}"
    if kind != "json_schema":
        return None
    told = asked["json_schema"]
    if not told.get("name") or "strict" not in told:
        return "response_format: json_schema needs a name and strict"
    try:
        jsonschema_rs.validate(told["schema"], value)
    except ValueError as error:
        return f"the scripted value does not fit: {error}"
    return None
