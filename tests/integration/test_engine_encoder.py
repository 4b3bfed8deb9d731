"""The sentence encoder on its real weights: export, embeddings, heads."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError
from inhouse.inference.base import Backend, Hosting, Question
from inhouse.inference.engines.encoder import Encoder, EncoderModel, shared_encoder
from inhouse.inference.engines.encoder_export import export
from inhouse.store.store import ModelStore
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.contracts.backend import BackendContract

pytestmark = pytest.mark.models

MOOD = TaskSpec(
    name="mood", kind=TaskKind.CHOICE, description="", labels=("bad", "good"), prompt="{{ input }}"
)
RATING = TaskSpec(
    name="rating", kind=TaskKind.SCORE, description="", low=-1.0, high=1.0, prompt="{{ input }}"
)
GOOD = "Profit rose by a fifth, well above expectations."
BAD = "The plant burned down and all jobs are lost."


@pytest.fixture(scope="session")
def base(weights_store: Path) -> Path:
    return ModelStore(weights_store, SystemClock()).resolve("minilm-l6", "current").path


@pytest.fixture(scope="module")
def exported(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    facts = export(base, folder)
    assert facts["dimensions"] == 384
    assert facts["lowest_cosine"] >= 0.98
    return folder


@pytest.fixture(scope="module")
def encoder(exported: Path) -> Encoder:
    return Encoder(exported)


def head(exported: Path, folder: Path, facts: dict[str, Any], weight: Any, bias: Any) -> Path:
    folder.mkdir()
    for name in ("encoder.onnx", "tokenizer.json"):
        (folder / name).hardlink_to(exported / name)
    (folder / "head.json").write_text(json.dumps(facts))
    tensors = {"weight": weight, "bias": bias, "temperature": np.array([0.1])}
    save_file(
        {name: np.asarray(each, dtype=np.float32) for name, each in tensors.items()},
        folder / "head.safetensors",
    )
    return folder


@pytest.fixture
def mood(exported: Path, encoder: Encoder, tmp_path: Path) -> Path:
    """A head whose rows are the vectors of a bad and a good text."""
    facts = {"kind": "choice", "labels": ["bad", "good"]}
    return head(exported, tmp_path / "mood", facts, encoder.embed([BAD, GOOD]), [0.0, 0.0])


@pytest.fixture
def rating(exported: Path, encoder: Encoder, tmp_path: Path) -> Path:
    bad, good = encoder.embed([BAD, GOOD])
    facts = {"kind": "score", "low": -1.0, "high": 1.0}
    return head(exported, tmp_path / "rating", facts, [good - bad], [0.0])


class TestContract(BackendContract):
    @pytest.fixture
    def backend(self, mood: Path) -> Backend:
        return EncoderModel("mood@1", model_dir=mood)

    @pytest.fixture
    def question(self) -> Question:
        return Question(task=MOOD, text=GOOD)


@pytest.mark.full
def test_the_same_source_gives_the_same_bytes(base: Path, exported: Path, tmp_path: Path) -> None:
    export(base, tmp_path)
    for name in ("encoder.onnx", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (exported / name).read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["encoder.onnx", "tokenizer.json"]
    assert (exported / "encoder.onnx").stat().st_size < 25e6


def test_near_texts_are_near(encoder: Encoder) -> None:
    first, near, far = encoder.embed(
        ["The cat sits on the mat.", "A cat is sitting on a rug.", "Interest rates were raised."]
    )
    assert first @ near > 0.6 > 0.3 > first @ far


def test_vectors_have_unit_length_and_no_neighbours(encoder: Encoder) -> None:
    texts = [GOOD, "", "¿Qué? — 漢字 \u202eabc", BAD * 20, "word " * 2000]
    together = encoder.embed(texts)
    assert together.dtype == np.float32
    assert together.shape == (5, 384)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(5), abs=1e-4)
    alone = np.stack([encoder.embed([text])[0] for text in texts])
    assert np.array_equal(together, alone)


def test_nothing_of_a_long_text_is_dropped(encoder: Encoder) -> None:
    filler = "The council meets on Thursday. " * 100
    plain, with_end = encoder.embed([filler, filler + "The bank is insolvent and shares crashed."])
    assert plain @ with_end < 0.9999


def test_heads_on_one_encoder_share_it(mood: Path, rating: Path) -> None:
    assert shared_encoder(mood) is shared_encoder(rating)


def test_a_choice_is_the_softmax_of_the_head(mood: Path, encoder: Encoder) -> None:
    model = EncoderModel("mood@1", model_dir=mood)
    good, bad = model.predict(["Earnings climbed more than forecast.", "A fire ruined the mill."])
    assert (good.output, bad.output) == ({"label": "good"}, {"label": "bad"})
    logits = encoder.embed([BAD, GOOD]) @ encoder.embed(["A fire ruined the mill."])[0] / 0.1
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    assert bad.probabilities is not None
    assert list(bad.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_score_stays_in_its_range(rating: Path, exported: Path, tmp_path: Path) -> None:
    good, bad = EncoderModel("rating@1", model_dir=rating).predict([GOOD, BAD])
    assert 0 < good.output["value"] <= 1
    assert -1 <= bad.output["value"] < 0
    facts = {"kind": "score", "low": -1.0, "high": 1.0}
    far = head(exported, tmp_path / "far", facts, np.zeros((1, 384)), [7.0])
    (clipped,) = EncoderModel("rating@2", model_dir=far).predict([GOOD])
    assert clipped.output == {"value": 1.0}
    assert clipped.probabilities is None


@pytest.mark.parametrize(
    ("task", "code"),
    [
        (RATING, "task-mismatch"),
        (
            TaskSpec(
                name="mood", kind=TaskKind.CHOICE, description="", labels=("bad", "fine"), prompt=""
            ),
            "task-mismatch",
        ),
        (None, "unsupported"),
    ],
)
def test_other_questions_are_refused(mood: Path, task: TaskSpec | None, code: str) -> None:
    model = EncoderModel("mood@1", model_dir=mood)
    assert model.hosting is Hosting.OWN
    with pytest.raises(BackendError) as caught:
        asyncio.run(model.answer(Question(task=task, text=GOOD)))
    assert caught.value.code == code
    assert not caught.value.retryable


def test_answers_come_from_the_weights(mood: Path) -> None:
    before = EncoderModel("mood@1", model_dir=mood).predict([GOOD])[0]
    facts = {"kind": "choice", "labels": ["good", "bad"]}
    (mood / "head.json").write_text(json.dumps(facts))
    after = EncoderModel("mood@1", model_dir=mood).predict([GOOD])[0]
    assert (before.output, after.output) == ({"label": "good"}, {"label": "bad"})


def test_a_short_text_costs_a_fraction_of_a_long_one(encoder: Encoder) -> None:
    """In CPU time of this process, which other load leaves alone; benchmarks hold the real bar."""

    def cost(text: str) -> float:
        began = time.process_time()
        for _ in range(10):
            encoder.embed([text])
        return time.process_time() - began

    cost(GOOD)
    assert min(cost(GOOD) for _ in range(3)) < cost(" ".join([GOOD] * 40)) / 2


def test_serving_imports_no_torch(mood: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from inhouse.inference.engines.encoder import EncoderModel\n"
        "EncoderModel('m@1', model_dir=Path(sys.argv[1])).predict(['Hi'])\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(mood)], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"
