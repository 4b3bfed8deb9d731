"""The options of a chat, as the embedded model's child is told of them. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from inhouse.core.errors import BackendError

_MOST: Final = 2**63 - 1
_REFUSED: Final = ("functions", "logprobs", "tools")
_Whole = Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)]
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]


class _Options(msgspec.Struct, omit_defaults=True):
    temperature: Annotated[float, msgspec.Meta(ge=0)] | None = None
    top_p: float | None = None
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    seed: _Whole | None = None
    stop: str | list[str] | None = None
    n: int | None = None


def options_of(reference: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of OpenAI's options that say how to generate; null is as absent.

    Raises BackendError (``unsupported``): for what no small model does (tools, several answers),
    and, fatally, for a value that its option cannot have.
    """
    try:
        read = msgspec.convert(dict(given), _Options)
    except msgspec.ValidationError as error:
        what, _, where = str(error).replace("`", "").partition(" - at $.")
        said = f"{where}: {what[:1].lower()}{what[1:]}"
        raise BackendError(said, code="unsupported", fatal=True) from None
    refused = [name for name in _REFUSED if given.get(name)]
    if read.n not in (None, 1) or refused:
        raise BackendError(
            f"{reference} cannot do {', '.join(refused) or 'n > 1'}", code="unsupported"
        )
    told: dict[str, Any] = msgspec.to_builtins(read)
    return told
