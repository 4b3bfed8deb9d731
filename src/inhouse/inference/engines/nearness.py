"""Texts of near meaning, by the vectors of a sentence encoder on this machine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inhouse.core.errors import Unavailable
from inhouse.inference.engines.children import require
from inhouse.inference.engines.embedder import holds_encoder
from inhouse.inference.engines.encoder import shared_encoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NEEDED: Final = ("numpy", "onnxruntime", "tokenizers")
_BLOCK: Final = 512


class MeaningEncoder:
    """Compares texts by the encoder of a base (made by ``encoder_export.convert``). ``name`` says
    which weights these are.

    Raises Unavailable: ``missing-extra`` without ONNX Runtime, ``base-missing`` without the files.
    """

    def __init__(self, name: str, *, model_dir: Path) -> None:
        require("encoder", *_NEEDED)
        if not holds_encoder(model_dir):
            raise Unavailable(f"{model_dir} holds no exported encoder", code="base-missing")
        self.name = name
        self._encoder = shared_encoder(model_dir)

    def nearness(self, texts: Sequence[str], threshold: float) -> VectorNearness:
        """Encodes the texts: some milliseconds for each."""
        return VectorNearness(self._encoder.embed(texts), threshold)

    def vectors(self, texts: Sequence[str]) -> list[Any]:
        """A vector of unit length for each text, as ``Direction`` takes them."""
        return [self._encoder.embed_one(text)[0] for text in texts]


class VectorNearness:
    """Which of some vectors of unit length (float32 [n, d]) have a cosine of at least this."""

    def __init__(self, vectors: NDArray[np.float32], threshold: float) -> None:
        self._vectors = vectors
        self._threshold = threshold

    def scan(self) -> _VectorScan:
        """Begin with no vector added."""
        return _VectorScan(self._vectors, self._threshold)


class _VectorScan:
    """Positions come in ascending order, so cosines are made for a block of them at once."""

    def __init__(self, vectors: NDArray[np.float32], threshold: float) -> None:
        import numpy as np

        self._vectors = vectors
        self._threshold = threshold
        self._sides = np.full(len(vectors), -1, dtype=np.int8)
        self._start = -_BLOCK
        self._near: Any = None

    def first(self, position: int, sides: Collection[int]) -> int | None:
        """The first vector added on one of these sides that is near to this one."""
        import numpy as np

        if position >= self._start + _BLOCK:
            self._start = position
            block = self._vectors[position : position + _BLOCK]
            self._near = block @ self._vectors[: position + _BLOCK].T >= self._threshold
        near = np.flatnonzero(self._near[position - self._start, :position])
        found = near[np.isin(self._sides[near], list(sides))]
        return int(found[0]) if len(found) else None

    def add(self, position: int, side: int) -> None:
        """From here on the vector is found, on this side."""
        self._sides[position] = side


class Direction:
    """Learns in which direction one sample of vectors lies from another, for two-sample tests."""

    def __init__(self, before: Sequence[Any], now: Sequence[Any]) -> None:
        import numpy as np

        self._axis = np.mean(np.stack(now), axis=0) - np.mean(np.stack(before), axis=0)

    def __call__(self, vectors: Sequence[Any]) -> list[float]:
        """How far each vector lies in that direction."""
        import numpy as np

        found: list[float] = (np.stack(vectors) @ self._axis).tolist()
        return found
