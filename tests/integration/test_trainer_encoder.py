"""``encoder.v1`` on a tiny encoder of random weights: learning, going on, exporting, serving."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from inhouse.datasets.example import Example
from inhouse.inference.engines.encoder import EncoderModel, WholeEncoder
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.training import handover, parity
from inhouse.training.trainers.base import (
    TrainedArtifact,
    TrainingFailed,
    TrainingStopped,
    Work,
)
from inhouse.training.trainers.encoder_full import EncoderFull, EncoderFullSettings

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
SETTINGS: Mapping[str, Any] = {
    "base": "tiny",
    "epochs": 3,
    "learning_rate": 5e-3,
    "max_tokens": 16,
    "batch": 8,
    "folds": 2,
    "held_out": 1,
    "threads": 1,
}


def texts(label: str, count: int) -> list[str]:
    rng = random.Random(label)
    return [
        " ".join(
            rng.choice(WORDS[label] if rng.random() < 0.7 else OTHERS)
            for _ in range(rng.randint(4, 24))
        )
        for _ in range(count)
    ]


def examples(spec: TaskSpec) -> list[Example]:
    choice = spec.kind is TaskKind.CHOICE
    return [
        Example(
            input=text,
            target={"label": label} if choice else {"value": VALUES[label]},
            group=f"{label}{number}",
            origin={"kind": "import"},
        )
        for label in WORDS
        for number, text in enumerate(texts(label, 20))
    ]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def make_tiny(folder: Path) -> Path:
    """A BERT of two layers that knows some words."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [word for group in WORDS.values() for word in group]
    vocabulary = {word: n for n, word in enumerate([*special, *words, *OTHERS, "word", "."])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


class Heard:
    """What a training said; stops it at a point that a test names."""

    def __init__(self, stop_at: Callable[[str, Mapping[str, Any] | None], bool]) -> None:
        self.points: list[Mapping[str, Any]] = []
        self.notes: list[str] = []
        self._stop_at = stop_at
        self.stopped = False

    def __call__(
        self, done: float, total: float, note: str, point: Mapping[str, Any] | None = None
    ) -> None:
        assert 0 <= done <= total
        self.notes.append(note)
        if point is not None:
            self.points.append(point)
        self.stopped = self.stopped or self._stop_at(note, point)


def train(
    base: Path,
    home: Path,
    spec: TaskSpec = MOOD,
    *,
    rows: Sequence[Example] = (),
    stop_at: Callable[[str, Mapping[str, Any] | None], bool] = lambda *_: False,
    **overrides: Any,
) -> tuple[TrainedArtifact, Heard]:
    """One attempt in a run's folder ``home``; attempts share what is kept there."""
    kept = home / "kept"
    kept.mkdir(parents=True, exist_ok=True)
    folder = home / f"attempt{len(list(home.iterdir()))}"
    folder.mkdir()
    heard = Heard(stop_at)
    work = Work(
        folder=folder,
        kept=kept,
        base=base,
        spec=spec,
        examples=rows or examples(spec),
        settings=EncoderFullSettings(**{**SETTINGS, **overrides}),
        report=heard,
        cancelled=lambda: heard.stopped,
    )
    artifact = EncoderFull().train(work)
    handover.write_result(folder, artifact)
    return artifact, heard


@pytest.fixture(scope="module")
def mood(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainedArtifact, Heard]:
    return train(base, tmp_path_factory.mktemp("mood"))


def graph(artifact: TrainedArtifact) -> bytes:
    return (artifact.files / "model.onnx").read_bytes()


def test_a_choice_is_learned_with_its_curve(mood: tuple[TrainedArtifact, Heard]) -> None:
    artifact, heard = mood
    assert artifact.metrics["macro_f1"] > 0.8
    assert artifact.metrics["held_out"] == 30
    assert 1 <= artifact.metrics["epochs"] <= 3
    answers = EncoderModel("mood@1", model_dir=artifact.files).predict(
        ["shares rose up good gain", "loss bad down fell fell"]
    )
    assert [answer.output["label"] for answer in answers] == ["good", "bad"]
    for answer in answers:
        assert answer.probabilities is not None
        assert sum(answer.probabilities.values()) == pytest.approx(1.0)
    folds = [point for point in heard.points if point["part"] == "fold 1 of 1"]
    assert [p["step"] for p in folds] == list(range(1, 13))
    assert [p["epoch"] for p in folds if p["valid_score"] is not None] == [1.0, 2.0, 3.0]
    assert folds[-1]["train_loss"] < folds[0]["train_loss"]
    final = [point for point in heard.points if point["part"] == "final"]
    assert final[-1]["epoch"] == artifact.metrics["epochs"]
    assert all(point["valid_score"] is None for point in final)


def test_a_score_is_learned_within_its_range(base: Path, tmp_path: Path) -> None:
    artifact, _ = train(base, tmp_path, TONE, loss="smooth-l1")
    assert artifact.metrics["pearson"] > 0.8
    assert artifact.metrics["mae"] < 1.0
    high, low = EncoderModel("tone@1", model_dir=artifact.files).predict(
        ["good gain up rose", "bad loss down fell"]
    )
    assert -2.0 <= low.output["value"] < high.output["value"] <= 3.0
    facts = json.loads((artifact.files / "model.json").read_bytes())
    assert (facts["kind"], facts["low"], facts["high"]) == ("score", -2.0, 3.0)


STOPS: Mapping[str, Callable[[str, Mapping[str, Any] | None], bool]] = {
    "within the first epoch": lambda _, point: bool(point) and point["step"] == 2,
    "after an epoch of the fold": lambda _, point: bool(point) and point["epoch"] == 2.0,
    "within the final part": lambda note, point: note.startswith("final") and point["step"] == 9,
    "while exporting": lambda note, _: note.startswith("exporting"),
}


@pytest.mark.parametrize("when", STOPS)
def test_an_interrupted_training_goes_on_and_gives_the_same_model(
    base: Path, mood: tuple[TrainedArtifact, Heard], tmp_path: Path, when: str
) -> None:
    whole, told = mood
    with pytest.raises(TrainingStopped):
        train(base, tmp_path, stop_at=STOPS[when])
    artifact, heard = train(base, tmp_path)
    assert graph(artifact) == graph(whole)
    assert artifact.metrics["epochs"] == whole.metrics["epochs"]
    assert artifact.metrics["temperature"] == whole.metrics["temperature"]
    if when == "within the first epoch":
        assert heard.points[0]["step"] == 1
    else:
        assert len(heard.points) < len(told.points)
        assert not any(text.encode() in b"".join(_kept(tmp_path)) for text in texts("bad", 3))


def _kept(home: Path) -> list[bytes]:
    return [path.read_bytes() for path in (home / "kept").iterdir()]


@pytest.mark.parametrize("damage", ["cut short", "of another work"])
def test_a_checkpoint_that_does_not_fit_is_not_gone_on_from(
    base: Path, mood: tuple[TrainedArtifact, Heard], tmp_path: Path, damage: str
) -> None:
    other = {"seed": 1} if damage == "of another work" else {}
    with pytest.raises(TrainingStopped):
        train(base, tmp_path, stop_at=STOPS["after an epoch of the fold"], **other)
    [checkpoint] = (tmp_path / "kept").iterdir()
    if damage == "cut short":
        checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    artifact, heard = train(base, tmp_path)
    assert heard.points[0]["step"] == 1
    assert graph(artifact) == graph(mood[0])


def test_another_seed_gives_another_model(
    base: Path, mood: tuple[TrainedArtifact, Heard], tmp_path: Path
) -> None:
    artifact, _ = train(base, tmp_path, seed=1)
    assert graph(artifact) != graph(mood[0])


def test_every_form_answers_in_another_process_as_it_was_probed(
    mood: tuple[TrainedArtifact, Heard], tmp_path: Path
) -> None:
    """What the parity process does, in this one; ``test_training_encoder`` runs the process."""
    artifact, _ = mood
    said: list[Any] = []
    parity.check(artifact.files, artifact.files.parent, said.append)
    assert {line["variant"] for line in said} == {v.dtype for v in artifact.variants}
    assert all(line["largest"] <= parity.TOLERANCE for line in said)
    [fp32] = [line for line in said if line["variant"] == "fp32"]
    assert fp32["texts"] == 27

    facts = json.loads((artifact.files / "model.json").read_bytes())
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in artifact.files.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    swapped = {**facts, "labels": facts["labels"][::-1]}
    (broken / "model.json").write_bytes(msgspec.json.encode(swapped))
    with pytest.raises(TrainingFailed, match="differs from the trained one"):
        parity.check(broken, artifact.files.parent, said.append)


def test_a_long_text_is_answered_by_all_its_windows(mood: tuple[TrainedArtifact, Heard]) -> None:
    model = WholeEncoder(mood[0].files, "fp32")
    first, second = "good " * 14, "bad " * 7
    whole, pieces = model.scores(first + second)
    assert pieces == 21
    parts = model.scores(first)[0] * 14 + model.scores(second)[0] * 7
    assert np.allclose(whole, parts / 21, atol=1e-5)
    nothing, none = model.scores("")
    assert (none, nothing.shape) == (0, (3,))


def test_doubt_about_examples_softens_what_is_learned(base: Path, tmp_path: Path) -> None:
    """Examples that half of the people doubt teach less certainty, at the same temperature."""
    rows = examples(MOOD)
    doubted = [msgspec.structs.replace(row) if False else _doubted(row) for row in rows]
    sure, _ = train(base, tmp_path / "sure", rows=rows, epochs=2)
    unsure, _ = train(base, tmp_path / "unsure", rows=doubted, epochs=2)
    ignored, _ = train(base, tmp_path / "ignored", rows=doubted, epochs=2, soften=0.0)
    spread = [
        float(np.ptp(WholeEncoder(each.files, "fp32").scores("good gain rose up")[0]))
        for each in (sure, unsure, ignored)
    ]
    assert spread[1] < spread[0]
    assert spread[2] > spread[1]


def _doubted(row: Example) -> Example:
    from dataclasses import replace

    return replace(row, quality=0.4)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"max_tokens": 64}, "reads 32 pieces at once"),
        ({"learning_rate": 1e-2, "weight_decay": 0.0, "epochs": 1}, ""),
    ],
)
def test_what_the_base_cannot_do_is_said(
    base: Path, tmp_path: Path, overrides: dict[str, Any], reason: str
) -> None:
    if not reason:
        train(base, tmp_path, frozen_layers=2, averaging=0.0, **overrides)
        return
    with pytest.raises(TrainingFailed, match=reason):
        train(base, tmp_path, **overrides)


def test_a_folder_without_an_encoder_is_refused(base: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(TrainingFailed, match="no config.json, model.safetensors"):
        train(empty, tmp_path / "run")
    (empty / "config.json").write_text('{"model_type": "llama"}')
    for name in ("model.safetensors", "tokenizer.json"):
        (empty / name).write_bytes((base / name).read_bytes())
    with pytest.raises(TrainingFailed, match="'llama'"):
        train(empty, tmp_path / "run")
