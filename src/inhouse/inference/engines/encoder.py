"""Own encoder models: one ONNX encoder, shared by all heads on it, and a linear head; or an encoder
that was fine-tuned with its head, in a graph of its own.

Needs onnxruntime, tokenizers, numpy and safetensors; no torch. Weights are mostly int8 and their
activations are quantised per run, so each text runs alone: its vector, and so its answer, never
depends on its neighbours.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from inhouse.core.errors import BackendError
from inhouse.core.hashing import sha256_file
from inhouse.inference.base import Hosting, Question, Reply, Usage
from inhouse.inference.engines.children import require
from inhouse.tasks.spec import TaskKind, TaskSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_PIECES = 256
WHOLE_FACTS = "model.json"
WHOLE_GRAPHS = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
_NEEDED = ("numpy", "onnxruntime", "safetensors", "tokenizers")
_THREADS = 2
_pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="encoder")
_encoders: dict[str, Encoder] = {}
_guard = threading.Lock()


class Graph:
    """An encoder exported by ``encoder_export``, with its tokenizer. Thread-safe.

    Raises Unavailable (code ``missing-extra``) when ONNX Runtime is not installed.
    """

    def __init__(self, model: Path, threads: int = 1) -> None:
        require("encoder", *_NEEDED)
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(model),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["SkipLayerNormFusion"],  # int8: a tenth slower with it
        )
        self._tokenizer = Tokenizer.from_file(str(model.parent / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        special = self._tokenizer.encode("").ids
        self._first, self._last = special[0], special[-1]

    def windows(self, text: str, most: int) -> tuple[list[list[int]], int]:
        """A text's word pieces in windows of at most ``most``, its first and last special token
        included; and how many pieces it has. There is at least one window."""
        pieces = self._tokenizer.encode(text, add_special_tokens=False).ids
        room = most - 2
        parts = [pieces[at : at + room] for at in range(0, max(1, len(pieces)), room)]
        return [[self._first, *part, self._last] for part in parts], len(pieces)

    def run(self, window: list[int]) -> Any:
        """What the graph says to one window, float32 [d]."""
        import numpy as np

        ids = np.array([window], dtype=np.int64)
        fed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": ids * 0}
        return self._session.run(None, fed)[0][0]


class Encoder:
    """A sentence encoder: vectors of unit length. Thread-safe. Raises as ``Graph`` does."""

    def __init__(self, model_dir: Path, threads: int = 1) -> None:
        self._graph = Graph(model_dir / "encoder.onnx", threads)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length, float32 [n, d], each as if its text came alone.

        A text of more than 256 word pieces is cut into windows whose vectors are averaged by their
        lengths; nothing is dropped.
        """
        import numpy as np

        return np.stack([self.embed_one(text)[0] for text in texts])

    def embed_one(self, text: str) -> tuple[NDArray[np.float32], int]:
        """The vector of one text, and its length in word pieces."""
        import numpy as np

        windows, pieces = self._graph.windows(text, MAX_PIECES)
        if len(windows) == 1:
            return self._graph.run(windows[0]), pieces
        total = sum(self._graph.run(window) * (len(window) - 2) for window in windows)
        return (total / np.linalg.norm(total)).astype(np.float32), pieces


def shared_encoder(model_dir: Path) -> Encoder:
    """The encoder of a folder; folders with the same encoder and tokenizer share one."""
    digests = [sha256_file(model_dir / name) for name in ("encoder.onnx", "tokenizer.json")]
    key = " ".join(digests)
    with _guard:
        found = _encoders.get(key)
        if found is None:
            found = _encoders[key] = Encoder(model_dir)
        return found


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an own model answers to one text."""

    output: Mapping[str, Any]
    probabilities: Mapping[str, float] | None
    pieces: int


class Head:
    """How the scores of a model become an answer; ``facts`` are those of its JSON file."""

    def __init__(self, facts: Mapping[str, Any], temperature: float) -> None:
        self.kind = TaskKind(facts["kind"])
        self.labels: tuple[str, ...] = tuple(facts.get("labels", ()))
        self.low, self.high = facts.get("low", 0.0), facts.get("high", 0.0)
        self._temperature = temperature

    def answer(self, scores: Any, pieces: int) -> Prediction:
        """The answer for a choice's logits [k], or for a score [1]."""
        import numpy as np

        if self.kind is TaskKind.SCORE:
            value = min(self.high, max(self.low, float(scores[0])))
            return Prediction({"value": value}, None, pieces)
        scores = (scores - scores.max()) / self._temperature
        shares = np.exp(scores - scores.max())
        shares = (shares / shares.sum()).tolist()
        probabilities = dict(zip(self.labels, shares, strict=True))
        best = max(self.labels, key=lambda label: probabilities[label])
        return Prediction({"label": best}, probabilities, pieces)

    def fits(self, spec: TaskSpec) -> bool:
        """Whether the head answers what the task asks."""
        if self.kind is not spec.kind:
            return False
        if self.kind is TaskKind.CHOICE:
            return set(self.labels) == set(spec.labels)
        return (self.low, self.high) == (spec.low, spec.high)


class LinearHead:
    """An artifact of ``encoder-head``: a linear head on the vectors of a shared encoder."""

    def __init__(self, model_dir: Path) -> None:
        from safetensors.numpy import load_file

        tensors = load_file(model_dir / "head.safetensors")
        self._weight, self._bias = tensors["weight"], tensors["bias"]
        self._encoder = shared_encoder(model_dir)
        facts = msgspec.json.decode((model_dir / "head.json").read_bytes())
        self.head = Head(facts, float(tensors["temperature"][0]))

    def predict(self, text: str) -> Prediction:
        """The answer to one text."""
        vector, pieces = self._encoder.embed_one(text)
        return self.head.answer(self._weight @ vector + self._bias, pieces)


class WholeEncoder:
    """An artifact of ``encoder``: a graph from a text's pieces to its scores.

    ``variant``: ``fp32`` or ``int8``; empty for the one that ``model.json`` says is served. A text
    of more pieces than the model learned from is cut into windows whose scores are averaged by
    their lengths; nothing is dropped.
    """

    def __init__(self, model_dir: Path, variant: str = "") -> None:
        facts = msgspec.json.decode((model_dir / WHOLE_FACTS).read_bytes())
        self._graph = Graph(model_dir / WHOLE_GRAPHS[variant or facts["serves"]])
        self._most = int(facts["max_pieces"])
        self.head = Head(facts, float(facts["temperature"]))

    def predict(self, text: str) -> Prediction:
        """The answer to one text."""
        scores, pieces = self.scores(text)
        return self.head.answer(scores, pieces)

    def scores(self, text: str) -> tuple[Any, int]:
        """A choice's logits before its temperature or a score before it is clipped, float32 [k];
        and the length in word pieces."""
        windows, pieces = self._graph.windows(text, self._most)
        if len(windows) == 1:
            return self._graph.run(windows[0]), pieces
        total = sum(self._graph.run(window) * (len(window) - 2) for window in windows)
        return total / pieces, pieces


class EncoderModel:
    """An own model: a Backend. Opens its files on first use; answers in threads of its own.

    It runs artifacts of the recipes ``encoder-head`` and ``encoder``; ``variant`` is for the parity
    check, which asks for each form of the weights.
    """

    about = "own encoder"

    def __init__(self, reference: str, *, model_dir: Path, variant: str = "") -> None:
        require("encoder", *_NEEDED)
        self._reference = reference
        self._model_dir = model_dir
        self._variant = variant

    @property
    def reference(self) -> str:
        return self._reference

    @property
    def hosting(self) -> Hosting:
        return Hosting.OWN

    async def answer(self, question: Question) -> Reply:
        """Raises BackendError: ``task-mismatch`` for a question that the head was not trained for,
        ``unsupported`` for a free chat, ``model-failed``."""
        if question.task is None:
            raise BackendError(f"{self._reference} answers its task only", code="unsupported")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_pool, self._answer, question.task, question.text)

    async def close(self) -> None:
        """Nothing to end: memory goes with the last user of the encoder."""

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Answers to many texts, one after another, in this thread."""
        return [self._model.predict(text) for text in texts]

    def _answer(self, spec: TaskSpec, text: str) -> Reply:
        if not self._model.head.fits(spec):
            raise BackendError(
                f"{self._reference} was trained for other answers than {spec.name} has now",
                code="task-mismatch",
            )
        try:
            found = self._model.predict(text)
        except Exception as error:
            raise BackendError(f"{self._reference} failed: {error}", code="model-failed") from error
        return Reply(
            output=found.output,
            probabilities=found.probabilities,
            usage=Usage(input_tokens=found.pieces),
            model=self._reference,
        )

    @cached_property
    def _model(self) -> LinearHead | WholeEncoder:
        if (self._model_dir / WHOLE_FACTS).is_file():
            return WholeEncoder(self._model_dir, self._variant)
        return LinearHead(self._model_dir)
