"""The real GGUF becomes safetensors: the same bytes each time, and the model's own tokens."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError, Invalid
from inhouse.core.hashing import sha256_file
from inhouse.inference.engines.lm_convert import convert
from inhouse.store.store import ModelStore

WEIGHTS = "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b"
"""SHA-256 of the bf16 weights. Equal, tensor by tensor, to what transformers 5.23 makes of the
same file; a change of it is a change of every answer."""


@pytest.fixture(scope="session")
def model_dir(weights_store: Path) -> Path:
    return ModelStore(weights_store, SystemClock()).resolve("smollm2-135m", "current").path


@pytest.mark.models
def test_the_weights_are_those_of_the_file(model_dir: Path) -> None:
    assert sha256_file(model_dir / "model.safetensors") == WEIGHTS
    config = json.loads((model_dir / "config.json").read_text())
    assert config["num_hidden_layers"] == 30
    assert config["tie_word_embeddings"] is True
    template = (model_dir / "chat_template.jinja").read_bytes()
    assert hashlib.sha256(template).hexdigest().startswith("872be49dbb63")


@pytest.mark.models
@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("in 2009", ["in", "Ġ", "2", "0", "0", "9"]),
        ("<|im_end|>", ["<|im_end|>"]),
    ],
)
def test_the_tokenizer_cuts_as_the_model_was_trained(
    model_dir: Path, text: str, pieces: list[str]
) -> None:
    """Digits stand alone: the vocabulary was made so."""
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    assert tokenizer.encode(text).tokens == pieces
    assert not [word for word in tokenizer.get_vocab() if sum(map(str.isdigit, word)) > 1]


@pytest.mark.models
@pytest.mark.parametrize("text", ["Profit rose 12.7 %", " two  spaces\n", "¿Qué? — 漢字 🙂", ""])
def test_tokens_lose_nothing(model_dir: Path, text: str) -> None:
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_a_folder_needs_exactly_one_file(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        convert(tmp_path, tmp_path / "out")
    assert caught.value.code == "gguf-not-found"
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF but no more")
    with pytest.raises(BackendError) as caught:
        convert(tmp_path, tmp_path / "out")
    assert caught.value.code == "child-failed"
    assert not (tmp_path / "out" / "model.safetensors").exists()
