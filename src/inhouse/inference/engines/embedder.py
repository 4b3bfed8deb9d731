"""Own embeddings: the sentence encoder of a base, without a head.

The encoder pools by mean and gives vectors of unit length. A text of more than 256 word pieces is
cut into windows whose vectors are averaged by their lengths, as own models read it, so nothing is
dropped; one of more than 32,768 characters is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from inhouse.core.errors import BackendError, Invalid, Unavailable
from inhouse.inference.base import Embeddings, Hosting, Question, Reply, Usage
from inhouse.inference.engines.children import require
from inhouse.inference.engines.encoder import Encoder, shared_encoder

MOST_CHARACTERS: Final = 32_768
"""About OpenAI's bound of 8192 tokens for one input."""
_FILES: Final = ("encoder.onnx", "tokenizer.json")
_NEEDED: Final = ("numpy", "onnxruntime", "tokenizers")
_pool = ThreadPoolExecutor(2, thread_name_prefix="embedder")


def holds_encoder(model_dir: Path) -> bool:
    """Whether a base's folder holds an exported sentence encoder."""
    return all((model_dir / name).is_file() for name in _FILES)


class Embedder:
    """A backend that embeds, on the base in ``model_dir`` (made by ``encoder_export.convert``);
    hosting is ``local``. Opens its files on first use.

    Texts of one call run one after another in a thread, so that calls take turns. Raises
    Unavailable: ``missing-extra`` without ONNX Runtime, ``base-missing`` without the files.
    """

    about = "sentence encoder on this machine"

    def __init__(self, reference: str, *, model_dir: Path) -> None:
        require("encoder", *_NEEDED)
        if not holds_encoder(model_dir):
            raise Unavailable(f"{model_dir} holds no exported encoder", code="base-missing")
        self._reference = reference
        self._model_dir = model_dir

    @property
    def reference(self) -> str:
        return self._reference

    @property
    def hosting(self) -> Hosting:
        return Hosting.LOCAL

    async def answer(self, question: Question) -> Reply:
        """Raises BackendError (code ``unsupported``): an encoder says nothing."""
        raise BackendError(
            f"{self._reference} embeds texts and answers nothing",
            code="unsupported",
            hint="ask it by POST /v1/embeddings",
        )

    async def embed(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> Embeddings:
        """Vectors of unit length. Raises Invalid: ``input-tokens`` for token ids, ``dimensions``
        for another length than its own, ``input-too-long`` for a text of over 32,768 characters."""
        for position, text in enumerate(inputs):
            _check_input(self._reference, position, text)
        loop = asyncio.get_running_loop()
        encoder = await loop.run_in_executor(_pool, lambda: self._encoder)
        vectors, pieces = [], 0
        for text in inputs:
            vector, length = await loop.run_in_executor(_pool, encoder.embed_one, text)
            _check_dimensions(self._reference, options.get("dimensions"), len(vector))
            vectors.append(vector.tolist())
            pieces += length
        return Embeddings(vectors=vectors, usage=Usage(input_tokens=pieces), model=self._reference)

    async def close(self) -> None:
        """Nothing to end: memory goes with the last user of the encoder."""

    @cached_property
    def _encoder(self) -> Encoder:
        return shared_encoder(self._model_dir)


def _check_input(reference: str, position: int, text: Any) -> None:
    if not isinstance(text, str):
        raise Invalid(
            f"input[{position}]: {reference} reads texts, not token ids", code="input-tokens"
        )
    if len(text) > MOST_CHARACTERS:
        raise Invalid(
            f"input[{position}] has {len(text)} characters, {MOST_CHARACTERS} are the most",
            code="input-too-long",
            hint="cut it into parts and embed each",
        )


def _check_dimensions(reference: str, wished: Any, actual: int) -> None:
    if wished is not None and wished != actual:
        raise Invalid(
            f"dimensions: {reference} has {actual}, not {wished}",
            code="dimensions",
            hint="leave dimensions out",
        )
