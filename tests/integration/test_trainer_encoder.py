"""``encoder.v1`` on a tiny encoder of random weights: learning, going on, exporting, serving; and
as a run, whose processes die."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.states import RunStatus
from inhouse.datasets import snapshot
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.example import Example
from inhouse.datasets.ingest import import_file
from inhouse.db.unit import Database
from inhouse.inference.engines.encoder import EncoderModel, WholeEncoder
from inhouse.jobs.worker import Timing, Worker
from inhouse.registry import versions
from inhouse.store.manifest import Draft, VariantSpec
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.training import handover, parity, runs
from inhouse.training.execute import JOB, LOG, Training
from inhouse.training.runs import Run
from inhouse.training.trainers.base import TrainedArtifact, TrainingFailed, TrainingStopped, Work
from inhouse.training.trainers.encoder_full import EncoderFull
from inhouse.training.trainers.encoder_settings import EncoderFullSettings

CLOCK = SystemClock()
WAIT_S = 180.0
QUICK = Timing(lease_s=60.0, heartbeat_s=0.5, poll_s=0.05, backoff_s=0.0)
"""Looks often, and holds a lease that no busy machine lets run out."""

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


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that says too little."""
    return make_tiny(tmp_path_factory.mktemp("tiny"), says=2)


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that says all that a linear head needs."""
    return make_tiny(tmp_path_factory.mktemp("telling"), says=32)


def make_tiny(folder: Path, says: int) -> Path:
    """A BERT of two layers that knows some words; of its 32 outputs ``says`` are not 0."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [word for group in WORDS.values() for word in group]
    vocabulary = {
        word: n for n, word in enumerate([*special, *words, *OTHERS, "word", ".", *OUTLETS])
    }
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary) - len(OUTLETS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    model = BertModel(config)
    model.resize_token_embeddings(len(vocabulary), mean_resizing=False)
    with torch.no_grad():
        model.encoder.layer[-1].output.LayerNorm.weight[says:] = 0.0
    model.save_pretrained(folder)
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


PHASES = (
    "reading the examples",
    "fold 1 of 1, epoch 2 of 3",
    "final, epoch",
    "exporting and measuring",
    "checking what was saved",
    "publishing",
)


@pytest.fixture
def training(sqlite_database: Database, base: Path, tmp_path: Path) -> Training:
    store = ModelStore(tmp_path / "store", CLOCK)
    with store.stage("tiny") as staging:
        for path in base.iterdir():
            (staging.path / path.name).write_bytes(path.read_bytes())
        files = VariantSpec(
            id="safetensors-fp32", format="safetensors", dtype="fp32", files=("model.safetensors",)
        )
        draft = Draft(kind="base", license="Apache-2.0", variants=(files,))
        made = store.publish(staging, draft)
    store.set_ref("tiny", "current", made.version, actor="test", reason="")
    return Training(
        database=sqlite_database,
        store=store,
        catalog=Catalog([MOOD]),
        clock=CLOCK,
        runs_dir=tmp_path / "runs",
    )


def request(training: Training, folder: Path) -> Run:
    file = folder / "rows.jsonl"
    rows = [{"text": row.input, "target": row.target["label"]} for row in examples(MOOD)]
    file.write_bytes(b"\n".join(msgspec.json.encode(row) for row in rows))
    import_file(training.database, MOOD, file, clock=CLOCK)
    with training.database.write() as unit:
        found = snapshot.build(unit, MOOD, settings=BuildSettings(), at=CLOCK.now())
        return training.request(
            unit, MOOD, found, recipe="encoder.v1", overrides=SETTINGS, actor="test"
        )


def worker(training: Training) -> Worker:
    return Worker(training.database, {JOB: training}, clock=CLOCK, name="heir", timing=QUICK)


def status(training: Training, run: Run) -> RunStatus:
    with training.database.read() as unit:
        return runs.get(unit, run.id).status


def progress(training: Training, run: Run) -> list[Mapping[str, Any]]:
    with training.database.read() as unit:
        return [e.data for e in runs.events(unit, run.id) if e.kind == runs.PROGRESS]


def until(condition: Callable[[], object]) -> None:
    deadline, pause = CLOCK.monotonic() + WAIT_S, threading.Event()
    while not condition():
        assert CLOCK.monotonic() < deadline, "waited in vain"
        pause.wait(0.01)


def processes_of(run: Run) -> list[int]:
    """The processes whose command line names the run's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if run.id.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def reached(training: Training, run: Run, phase: str) -> bool:
    return any(phase in said["note"] for said in progress(training, run))


def assert_one_version(training: Training, run: Run) -> versions.Version:
    with training.database.read() as unit:
        done = runs.get(unit, run.id)
        assert (done.status, done.error) == (RunStatus.SUCCEEDED, None)
        [version] = versions.list_versions(unit, "mood")
    assert version.run_id == run.id
    found = training.store.resolve(version.artifact, version.store_version)
    assert found.manifest_digest == version.manifest_digest
    metrics: Any = found.manifest.metadata["metrics"]
    kept = bool(metrics["int8_kept"])
    assert [v.dtype for v in found.manifest.variants] == (["int8"] * kept + ["fp32"])
    assert min(metrics["fp32_p50_ms"], metrics["int8_p50_ms"]) > 0
    answers = EncoderModel("mood@1", model_dir=found.path).predict(["good gain", "bad loss"])
    assert all(answer.probabilities for answer in answers)
    assert [path.name for path in training.folder(run.id).iterdir()] == [LOG]
    return version


def test_a_killed_child_goes_on_where_it_was(training: Training, tmp_path: Path) -> None:
    run = request(training, tmp_path)
    background = worker(training)
    background.start()
    kept = training.folder(run.id) / handover.KEPT / "checkpoint.pt"
    until(lambda: reached(training, run, "fold 1 of 1, epoch 2"))
    until(lambda: kept.is_file() and processes_of(run))
    [pid] = processes_of(run)
    os.kill(pid, signal.SIGKILL)
    until(lambda: status(training, run) is RunStatus.SUCCEEDED)
    assert background.stop(timeout_s=WAIT_S)
    assert_one_version(training, run)
    said = progress(training, run)
    assert " examples takes about " in said[0]["note"]
    steps = [s["point"]["step"] for s in said if s.get("point", {}).get("part") == "fold 1 of 1"]
    assert steps.count(1) == 1, "the epoch that was done is not done again"
    scores = [s["point"]["valid_score"] for s in said if "point" in s]
    assert len([score for score in scores if score is not None]) >= 2


PROGRAM = """
import sys, threading
from pathlib import Path
import msgspec
from inhouse.core.clock import SystemClock
from inhouse.db.unit import Database
from inhouse.jobs.worker import Timing, Worker
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskSpec
from inhouse.training.execute import JOB, Training

url, folder, spec = sys.argv[1:]
clock = SystemClock()
training = Training(
    database=Database(url), store=ModelStore(Path(folder) / "store", clock),
    catalog=Catalog([msgspec.json.decode(spec, type=TaskSpec)]), clock=clock,
    runs_dir=Path(folder) / "runs",
)
worker = Worker(
    training.database, {JOB: training}, clock=clock, name="doomed",
    timing=Timing(lease_s=3.0, heartbeat_s=0.5, poll_s=0.05, backoff_s=0.0),
)
worker.start()
threading.Event().wait()
"""


def start_doomed(training: Training, folder: Path) -> subprocess.Popen[bytes]:
    script = folder / "doomed.py"
    script.write_text(PROGRAM)
    url = training.database.engine.url.render_as_string(hide_password=False)
    spec = msgspec.json.encode(MOOD).decode()
    return subprocess.Popen([sys.executable, str(script), url, str(folder), spec])


@pytest.mark.full
@pytest.mark.parametrize("victim", ["worker", "child"])
@pytest.mark.parametrize("phase", PHASES)
def test_killed_at_any_phase_it_makes_one_version(
    training: Training, tmp_path: Path, phase: str, victim: str
) -> None:
    run = request(training, tmp_path)
    doomed = start_doomed(training, tmp_path)
    try:
        until(lambda: reached(training, run, phase) or doomed.poll() is not None)
        if victim == "child":
            for pid in processes_of(run):
                os.kill(pid, signal.SIGKILL)
            until(lambda: not processes_of(run) or reached(training, run, "publishing"))
    finally:
        doomed.kill()
        doomed.wait()
    until(lambda: not processes_of(run))
    heir = worker(training)
    heir.start()
    until(lambda: status(training, run) is RunStatus.SUCCEEDED)
    assert heir.stop(timeout_s=WAIT_S)
    assert_one_version(training, run)


@pytest.mark.full
def test_a_cancelled_run_leaves_no_checkpoint(training: Training, tmp_path: Path) -> None:
    run = request(training, tmp_path)
    background = worker(training)
    background.start()
    kept = training.folder(run.id) / handover.KEPT / "checkpoint.pt"
    until(kept.is_file)
    with training.database.write() as unit:
        training.cancel(unit, run.id)
    until(lambda: status(training, run) is RunStatus.CANCELLED)
    assert background.stop(timeout_s=WAIT_S)
    assert [path.name for path in training.folder(run.id).iterdir()] == [LOG]
    assert processes_of(run) == []
