"""An encoder of random weights that is small enough to train in a second, and texts for it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inhouse.datasets.example import Example
from inhouse.tasks.spec import TaskKind, TaskSpec

MOOD = TaskSpec(
    name="mood",
    kind=TaskKind.CHOICE,
    description="",
    labels=("bad", "good", "plain"),
    prompt="{{ input }}",
)
TONE = TaskSpec(
    name="tone", kind=TaskKind.SCORE, description="", low=-2.0, high=3.0, prompt="{{ input }}"
)
WORDS = {
    "bad": ("fell", "down", "loss", "bad"),
    "good": ("rose", "up", "gain", "good"),
    "plain": ("the", "of", "report", "year"),
}
VALUES = {"bad": -1.5, "plain": 0.5, "good": 2.5}
OTHERS = ("firm", "bank", "shares", "sales")
OUTLETS = tuple(f"outlet{number}" for number in range(24))
SETTINGS: Mapping[str, Any] = {
    "base": "tiny",
    "epochs": 3,
    "learning_rate": 5e-3,
    "max_tokens": 16,
    "batch": 4,
    "folds": 2,
    "held_out": 1,
    "threads": 1,
}


def texts(label: str, count: int) -> list[str]:
    """Texts of 4 to 24 words, most of them those of ``label``."""
    rng = random.Random(label)
    return [
        " ".join(
            rng.choice(WORDS[label] if rng.random() < 0.8 else OTHERS)
            for _ in range(rng.randint(4, 24))
        )
        for _ in range(count)
    ]


def example(spec: TaskSpec, text: str, label: str, group: str) -> Example:
    choice = spec.kind is TaskKind.CHOICE
    target = {"label": label} if choice else {"value": VALUES[label]}
    return Example(input=text, target=target, group=group, origin={"kind": "import"})


def examples(spec: TaskSpec) -> list[Example]:
    """Twenty texts of every label, each in a group of its own."""
    return [
        example(spec, text, label, f"{label}{number}")
        for label in WORDS
        for number, text in enumerate(texts(label, 20))
    ]


def signed() -> list[Example]:
    """Texts of outlets of one label each, which sign them; little else tells the label."""
    rng = random.Random(0)
    found = []
    for number, outlet in enumerate(OUTLETS):
        label, other = list(WORDS)[number % 3], list(WORDS)[number % 2]
        words = (WORDS[label][0], *OTHERS, *WORDS[other])
        for _ in range(8):
            text = " ".join((outlet, *rng.choices(words, k=5), outlet))
            found.append(example(MOOD, text, label, outlet))
    return found


def make_tiny(folder: Path, says: int) -> Path:
    """A BERT of two layers that knows some words; of its 32 outputs ``says`` are not 0."""
    import tokenizers  # noqa: PLC0415 - heavy, and only where something trains
    import torch  # noqa: PLC0415 - the same
    import transformers  # noqa: PLC0415 - the same

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [word for group in WORDS.values() for word in group]
    vocabulary = {
        word: n for n, word in enumerate([*special, *words, *OTHERS, "word", ".", *OUTLETS])
    }
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary) - len(OUTLETS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    model = transformers.BertModel(config)
    model.resize_token_embeddings(len(vocabulary), mean_resizing=False)
    with torch.no_grad():
        model.encoder.layer[-1].output.LayerNorm.weight[says:] = 0.0
    model.save_pretrained(folder)
    return folder
