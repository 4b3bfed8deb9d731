"""Own encoder models: one ONNX encoder, shared by all heads on it, and a linear head.

Needs onnxruntime, tokenizers, numpy and safetensors; no torch. The encoder's weights are int8 and
its activations are quantised per run, so each text runs alone: its vector, and so its answer, never
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
_NEEDED = ("numpy", "onnxruntime", "safetensors", "tokenizers")
_THREADS = 2
_pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="encoder")
_encoders: dict[str, Encoder] = {}
_guard = threading.Lock()


class Encoder:
    """A sentence encoder exported by ``encoder_export``. Thread-safe.

    Raises Unavailable (code ``missing-extra``) when ONNX Runtime is not installed.
    """

    def __init__(self, model_dir: Path, threads: int = 1) -> None:
        require("encoder", *_NEEDED)
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(model_dir / "encoder.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        special = self._tokenizer.encode("").ids
        self._first, self._last = special[0], special[-1]

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

        pieces = self._tokenizer.encode(text, add_special_tokens=False).ids
        room = MAX_PIECES - 2
        windows = [pieces[at : at + room] for at in range(0, max(1, len(pieces)), room)]
        if len(windows) == 1:
            return self._run(windows[0]), len(pieces)
        total = sum(self._run(window) * len(window) for window in windows)
        return (total / np.linalg.norm(total)).astype(np.float32), len(pieces)

    def _run(self, pieces: list[int]) -> Any:
        import numpy as np

        ids = np.array([[self._first, *pieces, self._last]], dtype=np.int64)
        fed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": ids * 0}
        return self._session.run(None, fed)[0][0]


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
    """A linear head: logits or a score from a vector. Reads ``head.json``, ``head.safetensors``."""

    def __init__(self, model_dir: Path) -> None:
        from safetensors.numpy import load_file

        facts = msgspec.json.decode((model_dir / "head.json").read_bytes())
        self.kind = TaskKind(facts["kind"])
        self.labels: tuple[str, ...] = tuple(facts.get("labels", ()))
        self.low, self.high = facts.get("low", 0.0), facts.get("high", 0.0)
        tensors = load_file(model_dir / "head.safetensors")
        self._weight, self._bias = tensors["weight"], tensors["bias"]
        self._temperature = float(tensors["temperature"][0])

    def predict(self, vector: Any, pieces: int) -> Prediction:
        """The answer for a vector [d]."""
        import numpy as np

        scores = self._weight @ vector + self._bias
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


class EncoderModel:
    """An own model: a Backend. Opens its files on first use; answers in threads of its own."""

    about = "own encoder"

    def __init__(self, reference: str, *, model_dir: Path) -> None:
        require("encoder", *_NEEDED)
        self._reference = reference
        self._model_dir = model_dir

    @property
    def reference(self) -> str:
        return self._reference

    @property
    def hosting(self) -> Hosting:
        return Hosting.OWN

    async def answer(self, question: Question) -> Reply:
        """Raises BackendError: ``task-mismatch`` for a question that the head was not trained for,
        ``unsupported`` for a free chat."""
        if question.task is None:
            raise BackendError(f"{self._reference} answers its task only", code="unsupported")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_pool, self._answer, question.task, question.text)

    async def close(self) -> None:
        """Nothing to end: memory goes with the last user of the encoder."""

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Answers to many texts, one after another, in this thread."""
        return [self._predict(text) for text in texts]

    def _answer(self, spec: TaskSpec, text: str) -> Reply:
        if not self._head.fits(spec):
            raise BackendError(
                f"{self._reference} was trained for other answers than {spec.name} has now",
                code="task-mismatch",
            )
        found = self._predict(text)
        return Reply(
            output=found.output,
            probabilities=found.probabilities,
            usage=Usage(input_tokens=found.pieces),
            model=self._reference,
        )

    def _predict(self, text: str) -> Prediction:
        return self._head.predict(*self._encoder.embed_one(text))

    @cached_property
    def _encoder(self) -> Encoder:
        return shared_encoder(self._model_dir)

    @cached_property
    def _head(self) -> Head:
        return Head(self._model_dir)
