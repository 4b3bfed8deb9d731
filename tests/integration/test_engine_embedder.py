"""Own embeddings on the real encoder: what a vector is, and what is refused."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError, Invalid, Unavailable
from inhouse.inference.base import Embeddings, Hosting, Message, Question
from inhouse.inference.engines.embedder import MOST_CHARACTERS, Embedder, holds_encoder
from inhouse.inference.engines.encoder import Encoder, shared_encoder
from inhouse.store.store import ModelStore

pytestmark = pytest.mark.models

TEXTS = ("Profit rose by a fifth.", "Sales in 2009 were EUR 12.7 mn “mixed”.", "x", " ")


@pytest.fixture(scope="session")
def base(weights_store: Path) -> Path:
    return ModelStore(weights_store, SystemClock()).resolve("minilm-l6", "current").path


@pytest.fixture(scope="module")
def embedder(base: Path) -> Embedder:
    return Embedder("embedded/minilm-l6", model_dir=base)


def embed(embedder: Embedder, inputs: Sequence[Any], **options: Any) -> Embeddings:
    return asyncio.run(embedder.embed(inputs, options))


def test_vectors_have_unit_length_and_the_encoders_values(embedder: Embedder, base: Path) -> None:
    found = embed(embedder, TEXTS, dimensions=384, encoding_format="base64")
    assert [len(vector) for vector in found.vectors] == [384] * 4
    for vector in found.vectors:
        assert math.fsum(value * value for value in vector) == pytest.approx(1, abs=1e-5)
    assert [list(vector) for vector in found.vectors] == Encoder(base).embed(TEXTS).tolist()
    assert found.usage.input_tokens == sum(Encoder(base).embed_one(text)[1] for text in TEXTS)
    assert (found.model, embedder.reference, embedder.hosting) == (
        "embedded/minilm-l6",
        "embedded/minilm-l6",
        Hosting.LOCAL,
    )


def test_a_vector_does_not_depend_on_its_neighbours(embedder: Embedder) -> None:
    together = embed(embedder, TEXTS).vectors
    assert [embed(embedder, [text]).vectors[0] for text in TEXTS] == list(together)


def test_nothing_of_a_long_text_is_dropped(embedder: Embedder) -> None:
    words = "profit rose by a fifth in the year " * 60
    whole, cut = embed(embedder, [words + "and the plant burned down", words]).vectors
    assert math.fsum(a * b for a, b in zip(whole, cut, strict=True)) < 0.9999
    assert len(words) < MOST_CHARACTERS


def test_calls_share_the_encoder_and_take_turns(embedder: Embedder, base: Path) -> None:
    assert embedder._encoder is shared_encoder(base)

    async def main() -> list[str]:
        done: list[str] = []

        async def one(name: str, texts: Sequence[str]) -> None:
            await embedder.embed(texts, {})
            done.append(name)

        await asyncio.gather(one("many", TEXTS * 50), one("few", TEXTS))
        return done

    assert asyncio.run(main()) == ["few", "many"]


@pytest.mark.parametrize(
    ("inputs", "options", "code"),
    [
        (["a", [1, 2]], {}, "input-tokens"),
        (["a"], {"dimensions": 128}, "dimensions"),
        (["a", "x" * (MOST_CHARACTERS + 1)], {}, "input-too-long"),
    ],
)
def test_what_it_cannot_do_is_refused(
    embedder: Embedder, inputs: list[Any], options: dict[str, Any], code: str
) -> None:
    with pytest.raises(Invalid) as caught:
        embed(embedder, inputs, **options)
    assert caught.value.code == code


def test_it_answers_no_questions(embedder: Embedder) -> None:
    with pytest.raises(BackendError) as caught:
        asyncio.run(embedder.answer(Question(messages=(Message("user", "hi"),))))
    assert caught.value.code == "unsupported"
    asyncio.run(embedder.close())
    asyncio.run(embedder.close())


def test_a_base_without_an_encoder_is_missing(tmp_path: Path) -> None:
    assert not holds_encoder(tmp_path)
    with pytest.raises(Unavailable) as caught:
        Embedder("embedded/none", model_dir=tmp_path)
    assert caught.value.code == "base-missing"
