"""A causal language model in this process: how likely words are as its answer, and what it says.

Only the child (``lm_child``) imports this. The weights are stored as bf16 and computed with in
float32: the same answers alone or in a batch, faster than bf16 without AMX, and safe on virtual
machines that announce AMX and kill the process (SIGILL) whose bf16 kernels use it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from inhouse.inference.engines.lm_grammar import Constraint, Grammars, Ungrammatical, Wish

_PREFIXES = 8
_MAX_TOKENS = 256
_SEEDS = 2**63
_COLD = 1e-3

Messages = Sequence[Mapping[str, Any]]


class Refused(ValueError):
    """The request cannot be served; the text says why."""


@dataclass(frozen=True, slots=True)
class Words:
    """A prompt and the words that may answer it."""

    messages: Messages
    words: Sequence[str]


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """Log likelihood of each word as the whole answer, and lengths in tokens."""

    scores: list[float]
    lengths: list[int]
    prompt_tokens: int


@dataclass(slots=True)
class Prefix:
    """The start that all prompts of a task share, and what the model computed of it."""

    ids: list[int]
    cache: Any


class LanguageModel:
    """Loaded weights, with what was computed of the last tasks' prompts."""

    def __init__(self, model_dir: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(model_dir)
        self._model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
        self._context = int(self._model.config.max_position_embeddings)
        self._prefixes: OrderedDict[str, Prefix] = OrderedDict()
        self._grammars = Grammars(self._tokenizer)

    def likelihoods(
        self, key: str, probes: Sequence[Messages], asked: Sequence[Words]
    ) -> list[Likelihoods]:
        """How likely each word is as the whole answer (the word, then the end of the turn).

        All prompts run in one pass over what follows their common prefix. ``key`` names the
        prefix, ``probes`` are two prompts that differ in the input alone; an empty key keeps none.
        """
        prompts = [self._prompt(one.messages) for one in asked]
        prefix = self._prefix(key, probes)
        if any(ids[: len(prefix.ids)] != prefix.ids for ids in prompts):
            prefix = Prefix([], DynamicCache())
        pack = Pack(len(prefix.ids))
        for ids, one in zip(prompts, asked, strict=True):
            answers = [[*self._encode(word), self._end] for word in one.words]
            pack.add(ids[len(prefix.ids) :], answers)
        try:
            with torch.inference_mode():
                return self._run(pack, prefix, prompts)
        except BaseException:
            self._prefixes.pop(key, None)
            raise

    def _run(self, pack: Pack, prefix: Prefix, prompts: list[list[int]]) -> list[Likelihoods]:
        states = self._model.base_model(
            input_ids=torch.tensor([pack.ids]),
            position_ids=torch.tensor([pack.positions]),
            attention_mask=pack.mask(),
            past_key_values=prefix.cache,
            use_cache=True,
        ).last_hidden_state[0]
        prefix.cache.crop(-len(pack.ids))
        rows = torch.tensor([row for row, _ in pack.targets])
        tokens = torch.tensor([token for _, token in pack.targets])
        logits = self._model.get_output_embeddings()(states[rows])
        found = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0].tolist()
        replies, at = [], 0
        for ids, lengths in zip(prompts, pack.lengths, strict=True):
            scores = []
            for length in lengths:
                scores.append(sum(found[at : at + length]))
                at += length
            replies.append(Likelihoods(scores, [length - 1 for length in lengths], len(ids)))
        return replies

    def _prefix(self, key: str, probes: Sequence[Messages]) -> Prefix:
        if not key:
            return Prefix([], DynamicCache())
        if key not in self._prefixes:
            self._prefixes[key] = self._compute_prefix(probes)
            if len(self._prefixes) > _PREFIXES:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(key)
        return self._prefixes[key]

    def _compute_prefix(self, probes: Sequence[Messages]) -> Prefix:
        first, second = (self._prompt(messages) for messages in probes)
        pairs = takewhile(lambda pair: pair[0] == pair[1], zip(first[:-1], second, strict=False))
        ids = [token for token, _ in pairs]
        cache = DynamicCache()
        if ids:
            self._states(ids, cache)
        return Prefix(ids, cache)

    def chat(
        self, messages: Messages, options: Mapping[str, Any], form: Wish | None = None
    ) -> Iterator[dict[str, Any]]:
        """Generate an answer, one token a step; yields ``{}`` until the last, the whole answer:
        content, finish_reason (``stop`` or ``length``), prompt_tokens, completion_tokens.

        Options of OpenAI's chat: ``max_tokens`` or ``max_completion_tokens`` (default 256),
        ``temperature`` (default 0: always the likeliest token), ``top_p``, ``seed``, ``stop``.
        With ``form`` (``Grammars.constraint``) the answer keeps to it and comes to its end when the
        tokens run short; ``length`` then means that even its end had no room. Raises Refused.
        """
        prompt = self._prompt(messages)
        limit = options.get("max_completion_tokens") or options.get("max_tokens") or _MAX_TOKENS
        limit = min(int(limit), self._context - len(prompt))
        stops = options.get("stop") or []
        stops = [stops] if isinstance(stops, str) else list(stops)
        said: list[int] = []
        text, finish = "", "length"
        for token in self._tokens(prompt, limit, Draw(options), self._constraint(form)):
            stopped = token is None
            if token is not None:
                said.append(token)
                whole = self._tokenizer.decode(said, skip_special_tokens=True)
                text, stopped = _cut(whole, stops)
            if stopped:
                finish = "stop"
                break
            yield {}
        yield {
            "content": text,
            "finish_reason": finish,
            "prompt_tokens": len(prompt),
            "completion_tokens": len(said),
        }

    def _tokens(
        self, prompt: list[int], limit: int, draw: Draw, constraint: Constraint | None
    ) -> Iterator[int | None]:
        """At most ``limit`` tokens, one by one; None is the end that the model made, or the
        grammar. What the grammar leaves no choice about costs no step of the model."""
        cache, fed, said = DynamicCache(), prompt, list[int]()
        while True:
            if constraint is not None:
                forced = constraint.forced()
                whole = len(said) + len(forced) <= limit and constraint.is_whole
                for token in forced[: limit - len(said)]:
                    said.append(token)
                    yield token
                if constraint.is_over or len(said) >= limit:
                    if whole:
                        yield None
                    return
                fed = [*fed, *forced]
            if len(said) >= limit:
                return
            logits = self._next_logits(fed, cache)
            if constraint is not None:
                short = limit - len(said) <= constraint.room
                logits = constraint.closing(logits, said) if short else constraint.allowed(logits)
            token = draw.token(logits)
            if token == self._end:
                yield None
                return
            if constraint is not None:
                constraint.say(token)
            said.append(token)
            yield token
            fed = [token]

    def _constraint(self, form: Wish | None) -> Constraint | None:
        try:
            return None if form is None else self._grammars.constraint(form)
        except Ungrammatical as error:
            raise Refused(str(error)) from None

    def _states(self, ids: list[int], cache: Any) -> Any:
        """What the model makes of tokens that follow those in the cache, and adds to it."""
        with torch.inference_mode():
            return self._model.base_model(
                input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True
            ).last_hidden_state[0]

    def _next_logits(self, fed: list[int], cache: Any) -> Any:
        states = self._states(fed, cache)[-1:]
        with torch.inference_mode():
            return self._model.get_output_embeddings()(states)[0]

    @property
    def _end(self) -> int:
        return int(self._tokenizer.eos_token_id)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _prompt(self, messages: Messages) -> list[int]:
        """Tokens of the messages in the model's own chat template, up to where it answers.

        Raises Refused when they leave no room for an answer, or the template refuses them.
        """
        try:
            text = self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # noqa: BLE001  a template is a program of the model's author
            raise Refused(f"the chat template refuses these messages: {error}") from None
        ids = self._encode(text)
        if len(ids) >= self._context:
            raise Refused(f"{len(ids)} tokens do not fit the model's {self._context}")
        return ids


def _cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there is one."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return (text[: min(found)], True) if found else (text, False)


class Pack:
    """Several prompts and their answers in one row of tokens, kept apart by the attention mask.

    Behind each prompt stand its answers, without their last token: each sees the prompt and itself,
    as if it stood there alone. ``targets`` are (row that predicts, token predicted) in the order of
    prompts, answers, tokens.
    """

    def __init__(self, prefix_length: int) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.targets: list[tuple[int, int]] = []
        self.lengths: list[list[int]] = []
        self._prefix = prefix_length
        self._prompts: list[int] = []
        self._answers: list[int] = []

    def add(self, prompt: list[int], answers: list[list[int]]) -> None:
        """Add the rest of a prompt behind the prefix (at least a token), and its answers."""
        self._put(prompt, self._prefix, 0)
        last = len(self.ids) - 1
        for number, answer in enumerate(answers, 1):
            start = len(self.ids)
            self._put(answer[:-1], self._prefix + len(prompt), number)
            rows = [last, *range(start, len(self.ids))]
            self.targets.extend(zip(rows, answer, strict=True))
        self.lengths.append([len(answer) for answer in answers])

    def _put(self, ids: list[int], position: int, answer: int) -> None:
        self.ids.extend(ids)
        self.positions.extend(range(position, position + len(ids)))
        self._prompts.extend([len(self.lengths)] * len(ids))
        self._answers.extend([answer] * len(ids))

    def mask(self) -> Any:
        """What each token sees: 0 or minus infinity, [1, 1, tokens, prefix + tokens]."""
        prompt, answer = torch.tensor(self._prompts), torch.tensor(self._answers)
        order = torch.arange(len(self.ids))
        seen = (prompt[:, None] == prompt) & (order[:, None] >= order)
        seen &= (answer == 0) | (answer[:, None] == answer)
        whole = torch.cat([torch.ones(len(self.ids), self._prefix, dtype=torch.bool), seen], dim=1)
        blocked = torch.zeros(whole.shape).masked_fill(~whole, torch.finfo(torch.float32).min)
        return blocked[None, None]


class Draw:
    """How the next token is chosen."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._temperature = float(options.get("temperature") or 0.0)
        top_p = options.get("top_p")
        self._top_p = 1.0 if top_p is None else float(top_p)
        self._random = torch.Generator()
        seed = options.get("seed")
        if seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(int(seed) % _SEEDS)

    def token(self, logits: Any) -> int:
        """The likeliest token at temperature 0 or near it, else one drawn from the likeliest that
        together have ``top_p`` of the probability."""
        if self._temperature < _COLD:
            return int(logits.argmax())
        shares, tokens = (logits / self._temperature).softmax(-1).sort(descending=True)
        shares[(shares.cumsum(0) - shares) >= self._top_p] = 0.0
        shares[0] = shares[0].clamp(min=torch.finfo(torch.float32).tiny)
        return int(tokens[torch.multinomial(shares, 1, generator=self._random)])
