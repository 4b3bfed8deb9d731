"""A general model behind OpenAI's HTTP API: Docker Model Runner, Ollama, vLLM, OpenAI itself, ...

One call is one POST to ``{base_url}/chat/completions``; deadlines, second tries and other backends
are the gateway's.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from inhouse.core.clock import Clock, SystemClock
from inhouse.inference.base import Hosting, Question, Reply, Usage
from inhouse.inference.wire import Wire, decode, encode
from inhouse.settings import UpstreamSettings

TYPED_MAX_TOKENS = 128
"""Room for the answer to a typed question; a word or a small JSON object needs a tenth of it."""

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

    ``reference`` is ``<upstream>/<model>``, ``model`` the name that the upstream knows. Raises
    Invalid for a base_url or key that cannot be used (codes ``upstream-url``, ``upstream-key``).
    """

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
        self._price = settings.prices.get(model)
        self._hosting = hosting_of(settings, self._wire.pool.address.host)

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

        A typed question is asked at temperature 0 and with room for ``TYPED_MAX_TOKENS``, unless
        the options say otherwise. ``options["messages"]`` stands in for an empty ``messages``, for
        chats whose messages carry more than role and content. ``content`` is "" when the upstream
        says nothing. Raises BackendError: the codes of ``HttpPool.request``, and
        ``upstream-status`` for any status but 2xx, ``upstream-garbage`` for an answer that is no
        chat completion, ``upstream-cut`` and ``upstream-refused`` for a typed question whose answer
        ran out of room or was refused, ``upstream-unsendable`` for a question that is not JSON.
        """
        response = await self._wire.post("/chat/completions", self._encode(question))
        return self._reply(question, response.body)

    async def close(self) -> None:
        """Close the idle connections. Calls under way finish."""
        await self._wire.close()

    def _encode(self, question: Question) -> bytes:
        fields: dict[str, Any] = {**question.options, "model": self._model}
        if question.messages:
            fields["messages"] = question.messages
        fields.pop("stream", None)
        fields.pop("stream_options", None)
        if question.task is not None:
            fields.setdefault("temperature", 0)
            if "max_completion_tokens" not in fields:
                fields.setdefault("max_tokens", TYPED_MAX_TOKENS)
        return encode(fields)

    def _reply(self, question: Question, raw: bytes) -> Reply:
        body = decode(raw)
        choice = _first_choice(body)
        message = choice.get("message") if choice is not None else None
        if body is None or choice is None or not isinstance(message, dict):
            raise self._wire.error(
                "upstream-garbage", "sent no chat completion", self._wire.detail(raw)
            )
        if question.task is not None:
            self._judge_end(choice.get("finish_reason"), message.get("refusal"))
        model = body.get("model")
        return Reply(
            content=_text_of(message.get("content")),
            usage=_usage_of(body.get("usage")),
            model=model if isinstance(model, str) else self._model,
            body=body,
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


def hosting_of(settings: UpstreamSettings, host: str) -> Hosting:
    """Whose machine an upstream runs on: as declared, else by the look of its address, without a
    look-up. Own are loopback, private and link-local addresses, ``localhost``, and names that end
    in ``.localhost``, ``.local`` or ``.internal``."""
    if settings.hosted is not None:
        return Hosting(settings.hosted)
    own = host.rstrip(".").rpartition(".")[2].lower() in _OWN_NAMES or _is_own_address(host)
    return Hosting.LOCAL if own else Hosting.EXTERNAL


def _is_own_address(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in _OWN_NETWORKS)


def _first_choice(body: dict[str, Any] | None) -> dict[str, Any] | None:
    choices = body.get("choices") if body is not None else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _text_of(content: Any) -> str:
    """Text, or the text parts of a list of parts; everything else counts as nothing said."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _usage_of(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    return Usage(
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
    )


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
