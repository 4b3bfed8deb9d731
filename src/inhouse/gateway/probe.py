"""Whether the backends of the tasks answer: each is asked once, outside of all traffic.

Nothing is recorded, no breaker is asked or told, no route is followed: a backend that stands
anywhere on a task's way is asked by its own name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from inhouse.core.clock import Clock
from inhouse.core.errors import BackendError, InhouseError
from inhouse.gateway.answer import ask_task
from inhouse.gateway.trace import Priced
from inhouse.inference.base import Backend, Message, Question, Reply
from inhouse.registry.routes import Route
from inhouse.tasks.outputs import in_words
from inhouse.tasks.prompts import fit, render
from inhouse.tasks.spec import TaskKind, TaskSpec

AT_ONCE: Final = 4
SAMPLE: Final = "The company doubled its profit this quarter."
GREETING: Final = "Say OK."
_HINTS = {
    "timeout": "set timeout_s of the task higher, or name a faster model",
    "upstream-connect": "is the server running at base_url of this upstream?",
    "upstream-garbage": "is base_url that of an API like OpenAI's, up to its version?",
    "unparsable": "name a model that follows instructions, or make the prompt clearer",
}
_LOOK_UP: Final = "docs/reference/errors.md has every code"


@dataclass(frozen=True, slots=True)
class Target:
    """A task and one reference that may have to answer it."""

    spec: TaskSpec
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What one backend did. ``answer`` is "" unless ``ok``; ``code``, ``message`` and ``hint`` are
    "" if ``ok``. ``cost`` is that of this one call, by the declared prices."""

    task: str
    reference: str
    ok: bool
    answer: str = ""
    latency_ms: float
    input_tokens: int
    output_tokens: int
    cost: float
    code: str = ""
    message: str = ""
    hint: str = ""


def targets(
    specs: Iterable[TaskSpec], routes: Mapping[str, Route], forced: Mapping[str, str]
) -> list[Target]:
    """Every backend on a task's way: forced, pin, incumbent, candidate with a share, chain.

    ``routes``: the route in force, by task. ``forced``: ``settings.force``.
    """
    found = []
    for spec in specs:
        route = routes[spec.name]
        candidate = route.candidate if route.weight_bp else None
        ways = (forced.get(spec.name), route.pin, route.incumbent, candidate, *route.chain)
        found += [Target(spec, one) for one in dict.fromkeys(ways) if one]
    return found


async def probe(
    wanted: Sequence[Target], resolve: Callable[[str], Backend], clock: Clock
) -> list[Probed]:
    """Ask every target once, at most four at a time, each with the time-out of its task; in the
    order of ``wanted``. Opening a model does not count as time. Never raises for a backend."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(target: Target) -> Probed:
        async with turns:
            return await _ask(target, resolve, clock)

    return list(await asyncio.gather(*map(in_turn, wanted)))


@dataclass(slots=True)
class _Bill:
    """What the replies to one target used up."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    def note(self, backend: Backend, reply: Reply) -> None:
        self.input_tokens += reply.usage.input_tokens
        self.output_tokens += reply.usage.output_tokens
        if hasattr(backend, "price"):
            self.cost += cast("Priced", backend).price(reply.usage)


async def _ask(target: Target, resolve: Callable[[str], Backend], clock: Clock) -> Probed:
    bill = _Bill()
    answer, started = "", clock.monotonic()
    failure: InhouseError | None = None
    try:
        backend = await asyncio.to_thread(resolve, target.reference)
        started = clock.monotonic()
        answer = await _answer(target, backend, bill)
    except InhouseError as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - a diagnosis tells of whatever goes wrong
        failure = InhouseError(f"{type(error).__name__}: {error}")
    return Probed(
        task=target.spec.name,
        reference=target.reference,
        ok=failure is None,
        answer=answer,
        latency_ms=round((clock.monotonic() - started) * 1e3, 3),
        input_tokens=bill.input_tokens,
        output_tokens=bill.output_tokens,
        cost=bill.cost,
        code="" if failure is None else failure.code,
        message="" if failure is None else failure.message,
        hint="" if failure is None else failure.hint or _HINTS.get(failure.code, _LOOK_UP),
    )


async def _answer(target: Target, backend: Backend, bill: _Bill) -> str:
    spec = target.spec
    try:
        async with asyncio.timeout(spec.timeout_s):
            given = await ask_task(backend, target.reference, spec, _question(spec), bill)
    except TimeoutError:
        raise BackendError(f"no answer within {spec.timeout_s:g} s", code="timeout") from None
    return in_words(spec, given.output)


def _question(spec: TaskSpec) -> Question:
    text = fit(spec, GREETING if spec.kind is TaskKind.TEXT else SAMPLE)
    prompt = render(spec, text) if spec.prompt else text
    return Question(task=spec, text=text, messages=(Message("user", prompt),))
