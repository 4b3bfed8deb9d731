"""``encoder.v1`` on a tiny encoder of random weights: learning, going on, exporting,
serving."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from inhouse.datasets.example import Example
from inhouse.inference.engines.encoder import EncoderModel, WholeEncoder
from inhouse.tasks.spec import TaskSpec
from inhouse.testing.tiny_encoder import (
    MOOD,
    SETTINGS,
    TONE,
    examples,
    make_tiny,
    signed,
)
from inhouse.training import handover, parity
from inhouse.training.trainers.base import TrainedArtifact, TrainingFailed, TrainingStopped, Work
from inhouse.training.trainers.encoder_full import EncoderFull
from inhouse.training.trainers.encoder_settings import EncoderFullSettings


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that says too little."""
    return make_tiny(tmp_path_factory.mktemp("tiny"), says=2)


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that says all that a linear head needs."""
    return make_tiny(tmp_path_factory.mktemp("telling"), says=32)


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


Trained = tuple[TrainedArtifact, Heard]


def train(
    base: Path,
    home: Path,
    spec: TaskSpec = MOOD,
    *,
    rows: Sequence[Example] = (),
    stop_at: Callable[[str, Mapping[str, Any] | None], bool] = lambda *_: False,
    **overrides: Any,
) -> Trained:
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
def mood(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(base, tmp_path_factory.mktemp("mood"))


def graph(artifact: TrainedArtifact) -> bytes:
    return (artifact.files / "model.onnx").read_bytes()


def test_a_choice_is_learned_with_its_curve(mood: Trained) -> None:
    artifact, heard = mood
    assert artifact.metrics["macro_f1"] > 0.8
    assert artifact.metrics["held_out"] == 30
    assert 1 <= artifact.metrics["epochs"] <= 3
    gain = artifact.metrics["fine_tuned_figure"] - artifact.metrics["start_figure"]
    assert gain > artifact.metrics["gain_error"] > 0
    assert artifact.metrics["macro_f1"] == artifact.metrics["fine_tuned_figure"]
    learned = examples(MOOD)
    answers = EncoderModel("mood@1", model_dir=artifact.files).predict([e.input for e in learned])
    right = [a.output == e.target for a, e in zip(answers, learned, strict=True)]
    assert sum(right) > 0.8 * len(right)
    for answer in answers:
        assert answer.probabilities is not None
        assert sum(answer.probabilities.values()) == pytest.approx(1.0)
    folds = [point for point in heard.points if point["part"] == "fold 1 of 1"]
    assert [p["step"] for p in folds] == list(range(25))
    assert [p["epoch"] for p in folds if p["valid_score"] is not None] == [0.0, 1.0, 2.0, 3.0]
    assert folds[0]["valid_score"] == pytest.approx(artifact.metrics["start_figure"], abs=1e-5)
    assert (folds[0]["train_loss"], folds[0]["seconds_left"]) == (None, None)
    assert folds[-1]["train_loss"] < folds[1]["train_loss"]
    final = [point for point in heard.points if point["part"] == "final"]
    assert final[-1]["epoch"] == artifact.metrics["epochs"]
    assert all(point["valid_score"] is None for point in final)


@pytest.mark.parametrize(("base_name", "is_tuned"), [("base", True), ("telling", False)])
def test_a_score_is_learned_within_its_range(
    request: pytest.FixtureRequest, tmp_path: Path, base_name: str, is_tuned: bool
) -> None:
    settings = {"loss": "smooth-l1", "frozen_layers": 1, "averaging": 0.0}
    artifact, _ = train(request.getfixturevalue(base_name), tmp_path, TONE, **settings)
    assert bool(artifact.metrics["epochs"]) == is_tuned
    assert artifact.metrics["pearson"] > 0.8
    high, low = EncoderModel("tone@1", model_dir=artifact.files).predict(
        ["good gain up rose", "bad loss down fell"]
    )
    assert -2.0 <= low.output["value"] < high.output["value"] <= 3.0
    facts = json.loads((artifact.files / "model.json").read_bytes())
    assert (facts["kind"], facts["low"], facts["high"]) == ("score", -2.0, 3.0)


@pytest.fixture(scope="module")
def kept(telling: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(telling, tmp_path_factory.mktemp("kept"), rows=signed())


def test_the_start_is_kept_where_a_fine_tune_learns_the_groups(kept: Trained) -> None:
    artifact, _ = kept
    assert artifact.metrics["epochs"] == 0
    assert artifact.metrics["macro_f1"] == artifact.metrics["start_figure"]
    assert artifact.metrics["start_figure"] > artifact.metrics["fine_tuned_figure"]


def test_the_start_is_exported_as_it_was_fitted(kept: Trained, telling: Path) -> None:
    """Its graph says what logistic regression says on the means of the base's last states."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from tokenizers import Tokenizer
    from transformers import BertModel

    tokenizer = Tokenizer.from_file(str(telling / "tokenizer.json"))
    model = BertModel.from_pretrained(telling).eval()
    rows = sorted(signed(), key=lambda each: each.content_hash)
    with torch.inference_mode():
        read = [torch.tensor([tokenizer.encode(row.input).ids]) for row in rows]
        means = np.array([model(ids).last_hidden_state[0].mean(0).double().numpy() for ids in read])
    length = np.linalg.norm(means, axis=1).mean()
    labels = [MOOD.labels.index(row.target["label"]) for row in rows]
    fitted = LogisticRegression(C=1.0, tol=1e-6, max_iter=5000).fit(means / length, labels)
    exported = WholeEncoder(kept[0].files, "fp32")
    said = np.array([exported.scores(row.input)[0] for row in rows])
    assert np.abs(said - fitted.decision_function(means / length)).max() < 1e-4
    lines: list[Any] = []
    parity.check(kept[0].files, kept[0].files.parent, lines.append)
    assert all(line["largest"] <= parity.TOLERANCE for line in lines)


STOPS: Mapping[str, Callable[[str, Mapping[str, Any] | None], bool]] = {
    "after the first epoch": lambda _, point: bool(point) and point["epoch"] == 1.0,
    "after an epoch of the fold": lambda _, point: bool(point) and point["epoch"] == 2.0,
    "within the final part": lambda note, point: note.startswith("final") and point["step"] == 3,
    "while the start is measured": lambda note, _: note.startswith("measuring"),
    "while exporting": lambda note, _: note.startswith("exporting"),
}


@pytest.mark.parametrize(
    ("model", "when"),
    [
        ("kept", "after the first epoch"),
        ("mood", "after an epoch of the fold"),
        ("mood", "within the final part"),
        ("kept", "while the start is measured"),
        ("mood", "while exporting"),
    ],
)
def test_an_interrupted_training_goes_on_and_gives_the_same_model(
    request: pytest.FixtureRequest, tmp_path: Path, model: str, when: str
) -> None:
    whole, told = request.getfixturevalue(model)
    base, rows = ("telling", signed()) if model == "kept" else ("base", ())
    folder = request.getfixturevalue(base)
    with pytest.raises(TrainingStopped):
        train(folder, tmp_path, rows=rows, stop_at=STOPS[when])
    artifact, heard = train(folder, tmp_path, rows=rows)
    assert graph(artifact) == graph(whole)
    for figure in ("epochs", "temperature", "gain_error"):
        assert artifact.metrics[figure] == whole.metrics[figure]
    assert "encoding the examples" not in heard.notes
    assert len(heard.points) < len(told.points)
    [checkpoint] = (tmp_path / "kept").iterdir()
    assert not any(
        row.input.encode() in checkpoint.read_bytes() for row in (rows or examples(MOOD))
    )


@pytest.mark.parametrize("damage", ["cut short", "of another work"])
def test_a_checkpoint_that_does_not_fit_is_not_gone_on_from(
    base: Path, tmp_path: Path, damage: str
) -> None:
    """The work begins anew; that it then ends as it would have is the test above."""
    other = {"seed": 1} if damage == "of another work" else {}
    with pytest.raises(TrainingStopped):
        train(base, tmp_path, stop_at=STOPS["after an epoch of the fold"], **other)
    [checkpoint] = (tmp_path / "kept").iterdir()
    if damage == "cut short":
        checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    begun: list[int] = []

    def at_once(note: str, point: Mapping[str, Any] | None) -> bool:
        begun.extend([point["step"]] if point else [])
        return point is not None

    with pytest.raises(TrainingStopped):
        train(base, tmp_path, stop_at=at_once)
    assert begun == [0]


def test_every_form_answers_in_another_process_as_it_was_probed(
    mood: Trained, tmp_path: Path
) -> None:
    """What the parity process does, in this one; a run, below, starts the process."""
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


def test_a_long_text_is_answered_by_all_its_windows(mood: Trained) -> None:
    model = WholeEncoder(mood[0].files, "fp32")
    first, second = "good " * 14, "bad " * 7
    whole, pieces = model.scores(first + second)
    assert pieces == 21
    parts = model.scores(first)[0] * 14 + model.scores(second)[0] * 7
    assert np.allclose(whole, parts / 21, atol=1e-5)
    nothing, none = model.scores("")
    assert (none, nothing.shape) == (0, (3,))


def test_a_folder_without_an_encoder_is_refused(base: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(TrainingFailed, match=r"no config\.json, model"):
        train(empty, tmp_path / "run")
    with pytest.raises(TrainingFailed, match="reads 32 pieces at once"):
        train(base, tmp_path / "run", max_tokens=64)
    (empty / "config.json").write_text('{"model_type": "llama"}')
    for name in ("model.safetensors", "tokenizer.json"):
        (empty / name).write_bytes((base / name).read_bytes())
    with pytest.raises(TrainingFailed, match="'llama'"):
        train(empty, tmp_path / "run")
