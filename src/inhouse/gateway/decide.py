"""Free decisions: typed questions about a text to one general model, recorded without a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from inhouse.core.errors import Invalid
from inhouse.gateway.call import Gateway
from inhouse.gateway.entry import Direct, DirectCall
from inhouse.gateway.trace import Trace
from inhouse.inference.base import Backend, Deciding, Judgements
from inhouse.inference.questions import FreeQuestion, answer_of

DECISION_TIMEOUT_S: Final = 600.0


async def decide(
    gateway: Gateway, call: DirectCall, text: str, questions: Sequence[FreeQuestion]
) -> Direct[Judgements]:
    """Ask one model. Recorded are the answers as the caller gets them.

    Raises what ``Gateway.direct`` raises, and Invalid (code ``no-decisions``) for a model that
    answers no typed questions.
    """

    async def ask(backend: Backend, trace: Trace) -> Judgements:
        if not hasattr(backend, "decide"):
            raise Invalid(
                f"{backend.reference} answers no typed questions",
                code="no-decisions",
                hint="name a task, a chat model of an upstream, or an embedded language model",
            )
        found = await cast("Deciding", backend).decide(text, questions)
        trace.note_usage(backend, found.usage)
        return found

    def output(found: Judgements) -> Any:
        pairs = zip(questions, found.answers, strict=True)
        return {"answers": [msgspec.to_builtins(answer_of(*pair)) for pair in pairs]}

    return await gateway.direct(call, ask, output)
