"""The embedded general model: a small language model in a child process, a Backend.

Typed questions are answered by likelihood: how likely does the assistant's answer begin with each
allowed word, relative to how likely that is on average over texts that have nothing to do with this
input. That average is the prior of the words; it is measured once per task revision on the short
mixed texts in ``prior_texts.txt``, kept as a file, and subtracted in log space before the words'
likelihoods are made to sum to one (batch calibration, Zhou et al. 2023, with a fixed batch).
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from inhouse.core.errors import BackendError
from inhouse.inference.base import Hosting, Question, Reply, Usage
from inhouse.inference.engines.children import require
from inhouse.inference.engines.lm_process import LmProcess
from inhouse.tasks.outputs import from_probabilities
from inhouse.tasks.prompts import render
from inhouse.tasks.spec import TaskSpec

_NEEDED = ("torch", "transformers", "safetensors")
_OPTIONS = ("max_tokens", "temperature", "top_p", "seed", "stop")


class EmbeddedLM:
    """``embedded/<base>``: answers typed questions with probabilities, and free chats with text.

    Safe for several event loops at once. ``calibration_dir`` keeps the priors. Raises Unavailable
    (code ``missing-extra``) when torch or transformers is not installed.
    """

    def __init__(
        self, reference: str, *, model_dir: Path, calibration_dir: Path, threads: int = 1
    ) -> None:
        require("lm", *_NEEDED)
        self._reference = reference
        self._model_dir = model_dir
        self._calibration_dir = calibration_dir
        self._process = LmProcess(model_dir, threads)
        self._priors: dict[str, list[float]] = {}
        self._guard = threading.Lock()

    @property
    def reference(self) -> str:
        return self._reference

    @property
    def hosting(self) -> Hosting:
        return Hosting.LOCAL

    @property
    def about(self) -> str:
        """What the model is, for reports: its name and size."""
        config = msgspec.json.decode((self._model_dir / "config.json").read_bytes())
        name = self._reference.partition("/")[2]
        return f"{name}, {config['num_hidden_layers']} layers, on this machine"

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        return self._process.pid

    async def answer(self, question: Question) -> Reply:
        """Raises BackendError: ``engine-died`` (retryable), ``engine`` when the model refuses the
        request, ``unsupported`` for a score without levels or for parts that are no text."""
        if question.task is None:
            return await self._chat(question)
        if not question.task.words:
            raise BackendError(
                f"{self._reference} answers by likelihood; task {question.task.name} has no words",
                code="unsupported",
                hint="declare levels for the score",
            )
        return await self._decide(question.task, question)

    async def close(self) -> None:
        self._process.close()

    async def _decide(self, spec: TaskSpec, question: Question) -> Reply:
        prior = await self._prior(spec)
        messages = [{"role": m.role, "content": _text(m.content)} for m in question.messages]
        reply = await self._score(spec, messages)
        shares = calibrated(reply["scores"], prior)
        probabilities = dict(zip(spec.words, shares, strict=True))
        return Reply(
            output=from_probabilities(spec, probabilities),
            probabilities=probabilities,
            usage=Usage(input_tokens=reply["prompt"], output_tokens=1),
            model=self._reference,
        )

    async def _prior(self, spec: TaskSpec) -> list[float]:
        """The words' mean log-likelihood over the texts in the box; measured once."""
        found = self._priors.get(spec.revision)
        if found is not None:
            return found
        path = self._calibration_dir / self._file(spec)
        if not path.exists():
            texts = (files(__package__) / "prior_texts.txt").read_text("utf-8").splitlines()
            rows = [await self._log_shares(spec, text) for text in texts]
            mean = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
            self._keep(path, {"words": list(spec.words), "log_prior": mean})
        prior: list[float] = msgspec.json.decode(path.read_bytes())["log_prior"]
        return self._priors.setdefault(spec.revision, prior)

    def _file(self, spec: TaskSpec) -> str:
        base = self._reference.partition("/")[2]
        return f"{base}-{self._model_dir.name}-{spec.revision}.json"

    def _keep(self, path: Path, value: Mapping[str, Any]) -> None:
        with self._guard:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".part")
            partial.write_bytes(msgspec.json.encode(value))
            partial.replace(path)

    async def _log_shares(self, spec: TaskSpec, text: str) -> list[float]:
        messages = [{"role": "user", "content": render(spec, text)}]
        scores = (await self._score(spec, messages))["scores"]
        total = _log_sum(scores)
        return [score - total for score in scores]

    async def _score(self, spec: TaskSpec, messages: list[dict[str, str]]) -> dict[str, Any]:
        fields = {"messages": messages, "words": list(spec.words), "key": spec.revision}
        return await self._ask("score", fields)

    async def _chat(self, question: Question) -> Reply:
        messages = [{"role": m.role, "content": _text(m.content)} for m in question.messages]
        options = {name: question.options[name] for name in _OPTIONS if name in question.options}
        if "max_completion_tokens" in question.options:
            options["max_tokens"] = question.options["max_completion_tokens"]
        made = await self._ask("chat", {"messages": messages, "options": options})
        usage = Usage(input_tokens=made["prompt"], output_tokens=made["completion"])
        body = _completion(self._reference, made)
        return Reply(content=made["text"], usage=usage, model=self._reference, body=body)

    async def _ask(self, kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        number, future = self._process.ask(kind, fields)
        try:
            reply = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._process.drop(number)
            raise
        if "error" in reply:
            raise BackendError(f"{self._reference}: {reply['error']}", code="engine")
        return reply


def calibrated(scores: Sequence[float], log_prior: Sequence[float]) -> list[float]:
    """Shares that sum to one: softmax of the log-likelihoods less the words' log prior."""
    raw = [score - prior for score, prior in zip(scores, log_prior, strict=True)]
    total = _log_sum(raw)
    return [math.exp(value - total) for value in raw]


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def _text(content: Any) -> str:
    """The text of a message; parts other than text are refused."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(part.get("type") == "text" for part in content):
        return "\n".join(part["text"] for part in content)
    raise BackendError("the embedded model takes text only", code="unsupported", fatal=True)


def _completion(model: str, made: Mapping[str, Any]) -> dict[str, Any]:
    total = made["prompt"] + made["completion"]
    return {
        "object": "chat.completion",
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": made["text"]},
                "logprobs": None,
                "finish_reason": made["finish"],
            }
        ],
        "usage": {
            "prompt_tokens": made["prompt"],
            "completion_tokens": made["completion"],
            "total_tokens": total,
        },
    }
