"""A general model behind OpenAI's HTTP API: Docker Model Runner, Ollama, vLLM, OpenAI itself, ...

One call is one POST to ``{base_url}/chat/completions`` or ``/embeddings``; deadlines, second tries
and other backends are the gateway's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

import msgspec

from inhouse.core.clock import Clock, SystemClock
from inhouse.core.errors import BackendError
from inhouse.core.urls import take_apart
from inhouse.inference.base import (
    Embeddings,
    Hosting,
    Judgements,
    Question,
    Reply,
    ReplyStream,
    Usage,
)
from inhouse.inference.decisions import answer_typed, decide, judge_by_chat
from inhouse.inference.upstream_chat import (
    LazyBody,
    read_completion,
    read_vectors,
    text_of,
    usage_of,
)
from inhouse.inference.upstream_form import Form, Forms, formed, is_refusal, schema_of
from inhouse.inference.upstream_stream import open_stream
from inhouse.inference.wire import Wire, encode
from inhouse.settings import UpstreamSettings
from inhouse.tasks.spec import TaskKind

CHAT = "/chat/completions"

TYPED_MAX_TOKENS = 128
"""Room for a label or a number; a word or a small JSON object needs a tenth of it."""
SPANS_MAX_TOKENS = 1024
JSON_MAX_TOKENS = 2048

_ROOM: Mapping[TaskKind, int] = {
    TaskKind.CHOICE: TYPED_MAX_TOKENS,
    TaskKind.SCORE: TYPED_MAX_TOKENS,
    TaskKind.SPANS: SPANS_MAX_TOKENS,
    TaskKind.JSON: JSON_MAX_TOKENS,
}
_COUNT_TOKENS: Mapping[str, Any] = {"include_usage": True}
_OWN_NETWORKS: tuple[IPv4Network | IPv6Network, ...] = tuple(
    ip_network(network)
    for network in (
        *("0.0.0.0/32", "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        *("169.254.0.0/16", "::/128", "::1/128", "fc00::/7", "fe80::/10"),
    )
)
_OWN_NAMES = ("localhost", "local", "internal")


class UpstreamBackend:
    """One model of one upstream. Safe to use from several event loops.

    ``reference`` is ``<upstream>/<model>``, ``model`` the name that the upstream knows.
    """

    takes_json: Final = True
    """Options may be JSON as it came (``msgspec.Raw``); it goes on as it is."""

    def __init__(
        self,
        reference: str,
        *,
        settings: UpstreamSettings,
        model: str,
        clock: Clock | None = None,
    ) -> None:
        self._wire = Wire(reference, settings=settings, clock=clock or SystemClock())
        self._model = model
        self._counts_streams = settings.stream_usage
        self._decides = settings.speaks == "decisions"
        self._price = settings.prices.get(model)
        self._hosting = hosting_of(settings, self._wire.pool.address.host)
        self._forms = Forms()

    @property
    def reference(self) -> str:
        return self._wire.reference

    @property
    def hosting(self) -> Hosting:
        return self._hosting

    def price(self, usage: Usage) -> float:
        """What these tokens cost by the prices in ``inhouse.toml``; 0 where none is declared."""
        if self._price is None:
            return 0.0
        paid = usage.input_tokens * self._price.input_per_million
        return (paid + usage.output_tokens * self._price.output_per_million) / 1_000_000

    async def answer(self, question: Question) -> Reply:
        """Ask once and wait for the whole answer (``stream`` among the options is left out).

        A question whose answer is no free text is asked at temperature 0 and with room for the
        answers of its kind (``TYPED_MAX_TOKENS``, ...), unless the options say otherwise; spans and
        JSON with their schema as ``response_format``, as far as the upstream takes it: one that
        refuses it by name is asked again at once for some JSON, then in words, and from then on for
        what it takes. ``options["messages"]`` stands in
        for an empty ``messages``, for chats whose messages carry more than role and content.
        ``content`` is the refusal when there is nothing else, and "" when the upstream says
        nothing. Raises BackendError: the codes of ``HttpPool.request``, and ``upstream-status`` for
        any status but 2xx, ``upstream-garbage`` for an answer that is no chat completion,
        ``upstream-cut`` and ``upstream-refused`` for a typed answer that ran out of room or was
        refused, ``upstream-unsendable`` for a question that is not JSON. An upstream that speaks
        decisions is asked as ``decisions.answer_typed`` does.
        """
        if self._decides:
            return await answer_typed(self._wire, self._model, question)
        fields = self._fields(question)
        fields.pop("stream", None)
        fields.pop("stream_options", None)
        return self._reply(question, await self._asked(question, fields))

    async def stream(self, question: Question) -> ReplyStream:
        """Ask for an answer token by token; returns with the first token (``Streaming``).

        What is asked is what ``answer`` asks. Token counts are asked for unless the settings say
        otherwise; the chunk that brings them is passed on only to those whose options ask for it.
        Raises BackendError until then, and the iteration does afterwards: the codes of ``answer``,
        ``upstream-stream-error`` for an error that the upstream sent as an event, and
        ``upstream-closed`` for a stream without its end.
        """
        fields = self._fields(question)
        wanted = _wants_usage(fields.get("stream_options"))
        fields["stream"] = True
        if self._counts_streams and not wanted:
            fields["stream_options"] = {**_object(fields.get("stream_options")), **_COUNT_TOKENS}
        answer = await self._wire.stream(CHAT, encode(fields))
        return await open_stream(self._wire, answer, model=self._model, hide_usage=not wanted)

    async def embed(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> Embeddings:
        """Vectors of texts or token ids, in the upstream's own words (``Embedding``).

        Raises BackendError: the codes of ``answer``; ``upstream-garbage`` also when there is not
        one vector for each input.
        """
        fields = {**options, "model": self._model, "input": inputs}
        raw = (await self._wire.post("/embeddings", encode(fields))).body
        vectors = read_vectors(raw)
        if vectors is None or len(vectors.data) != len(inputs):
            raise self._garbage("sent no embeddings of these inputs", raw)
        return Embeddings(usage=usage_of(vectors.usage), model=self._named(vectors.model), raw=raw)

    async def decide(self, text: str, questions: Sequence[Mapping[str, Any]]) -> Judgements:
        """Answer free typed questions (``Deciding``): by ``POST /decisions`` where the upstream
        speaks it, else by the likelihoods that a chat model tells. Raises what
        ``decisions.decide`` and ``decisions.judge_by_chat`` raise."""
        ask = decide if self._decides else judge_by_chat
        return await ask(self._wire, self._model, text, questions)

    async def close(self) -> None:
        """Close the idle connections. Calls under way finish."""
        await self._wire.close()

    async def _asked(self, question: Question, fields: Mapping[str, Any]) -> bytes:
        """What the upstream answers, told the form of the answer as well as it takes it."""
        spec, schema = question.task, schema_of(question)
        if spec is None or schema is None:
            return (await self._wire.post(CHAT, encode(fields))).body
        while True:
            form = self._forms.of(spec)
            try:
                body = encode(formed(fields, spec, schema, form))
                return (await self._wire.post(CHAT, body)).body
            except BackendError as error:
                if form is Form.WORDS or not is_refusal(error, self.reference):
                    raise
                self._forms.refuse(spec, form)

    def _fields(self, question: Question) -> dict[str, Any]:
        fields: dict[str, Any] = {**question.options, "model": self._model}
        if question.messages:
            fields["messages"] = question.messages
        room = _ROOM.get(question.task.kind) if question.task is not None else None
        if room is not None:
            fields.setdefault("temperature", 0)
            if "max_completion_tokens" not in fields:
                fields.setdefault("max_tokens", room)
        return fields

    def _reply(self, question: Question, raw: bytes) -> Reply:
        completion = read_completion(raw)
        if completion is None:
            raise self._garbage("sent no chat completion", raw)
        choice = completion.choices[0]
        message = choice.message
        if _is_typed(question):
            self._judge_end(choice.finish_reason, message.refusal)
        return Reply(
            content=text_of(message.content) or text_of(message.refusal),
            usage=usage_of(completion.usage),
            model=self._named(completion.model),
            body=LazyBody(raw),
            raw=raw,
        )

    def _judge_end(self, reason: Any, refusal: Any) -> None:
        """A typed answer that was cut could be read as another one; a refusal is no answer."""
        if reason == "length":
            raise self._wire.error(
                "upstream-cut", "ran out of tokens before its answer was complete"
            )
        if refusal or reason == "content_filter":
            said = self._wire.clean(refusal) if isinstance(refusal, str) else ""
            raise self._wire.error("upstream-refused", "refused to answer", said)

    def _garbage(self, message: str, raw: bytes) -> BackendError:
        return self._wire.error("upstream-garbage", message, self._wire.detail(raw))

    def _named(self, model: Any) -> str:
        return model if isinstance(model, str) else self._model


def _is_typed(question: Question) -> bool:
    """Whether the answer has a form; a text is answered like a free chat."""
    return question.task is not None and question.task.kind in _ROOM


def _wants_usage(options: Any) -> bool:
    return _object(options).get("include_usage") is True


def _object(value: Any) -> Mapping[str, Any]:
    found = msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
    return found if isinstance(found, Mapping) else {}


def hosting_of(settings: UpstreamSettings, host: str) -> Hosting:
    """Whose machine an upstream runs on: as declared, else by the look of its address, without a
    look-up. Own are loopback, private and link-local addresses, ``localhost``, and names that end
    in ``.localhost``, ``.local`` or ``.internal``."""
    if settings.hosted is not None:
        return Hosting(settings.hosted)
    own = host.rstrip(".").rpartition(".")[2].lower() in _OWN_NAMES or _is_own_address(host)
    return Hosting.LOCAL if own else Hosting.EXTERNAL


def without_key(upstreams: Mapping[str, UpstreamSettings]) -> list[str]:
    """Upstreams on the machines of others that no key is declared for; most of those refuse every
    call."""
    return [
        name
        for name, one in sorted(upstreams.items())
        if not one.api_key.get_secret_value()
        and hosting_of(one, take_apart(one.base_url).host) is Hosting.EXTERNAL
    ]


def _is_own_address(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in _OWN_NETWORKS)
