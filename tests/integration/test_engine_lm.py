"""The embedded language model on its real weights: answers, caching, crashes, orphans."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError, Unavailable
from inhouse.inference.base import Backend, Hosting, Message, Question, Reply
from inhouse.inference.engines.children import command
from inhouse.inference.engines.lm import EmbeddedLM
from inhouse.inference.engines.lm_process import LmProcess
from inhouse.store.store import ModelStore
from inhouse.tasks.prompts import render
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.contracts.backend import BackendContract

pytestmark = pytest.mark.models

PROMPT = "What is the sentiment? Answer with one word: negative, neutral, positive.\n\n{{ input }}"
MOOD = TaskSpec(
    name="mood",
    kind=TaskKind.CHOICE,
    description="",
    labels=("negative", "neutral", "positive", "rather mixed"),
    prompt=PROMPT,
)
RATING = TaskSpec(
    name="rating",
    kind=TaskKind.SCORE,
    description="",
    low=-1.0,
    high=1.0,
    levels=(("negative", -1.0), ("neutral", 0.0), ("positive", 1.0)),
    prompt=PROMPT,
)
TEXTS = (
    "Profit rose by a fifth, well above expectations.",
    "The plant burned down and all jobs are lost.",
    "The board meets on Tuesday.",
    "Sales in 2009 were EUR 12.7 mn; costs, 11.1 mn (up 3 %) — “a mixed bag”.",
)


@pytest.fixture(scope="session")
def model_dir(weights_store: Path) -> Path:
    return ModelStore(weights_store, SystemClock()).resolve("smollm2-135m", "current").path


@pytest.fixture(scope="module")
def calibration_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibration")


def open_lm(model_dir: Path, calibration_dir: Path) -> EmbeddedLM:
    return EmbeddedLM("embedded/smollm2-135m", model_dir=model_dir, calibration_dir=calibration_dir)


@pytest.fixture(scope="module")
def lm(model_dir: Path, calibration_dir: Path) -> Iterator[EmbeddedLM]:
    """One child for the tests that leave it alive."""
    opened = open_lm(model_dir, calibration_dir)
    opened.start()
    yield opened
    asyncio.run(opened.close())


def ask(lm: EmbeddedLM, text: str, spec: TaskSpec = MOOD) -> Reply:
    return asyncio.run(lm.answer(Question(task=spec, text=text)))


def say(lm: EmbeddedLM, content: Any, **options: Any) -> Reply:
    return asyncio.run(lm.answer(Question(messages=(Message("user", content),), options=options)))


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.02)
    return True


class Lent:
    """An engine that others go on using: closing it leaves its child alive."""

    def __init__(self, lm: EmbeddedLM) -> None:
        self._lm = lm
        self.reference, self.hosting, self.about = lm.reference, lm.hosting, lm.about
        self.answer = lm.answer

    async def close(self) -> None:
        pass


class TestContract(BackendContract):
    """A child takes seconds to start; only those that close it have one of their own."""

    deadline_s = 180.0

    @pytest.fixture
    def backend(
        self,
        request: pytest.FixtureRequest,
        lm: EmbeddedLM,
        model_dir: Path,
        calibration_dir: Path,
    ) -> Backend:
        if "closes" in request.node.name:
            return open_lm(model_dir, calibration_dir)
        return Lent(lm)

    @pytest.fixture
    def question(self) -> Question:
        return Question(
            task=MOOD, text=TEXTS[0], messages=(Message("user", render(MOOD, TEXTS[0])),)
        )


def test_a_choice_is_answered_by_its_likeliest_word(lm: EmbeddedLM) -> None:
    reply = ask(lm, TEXTS[0])
    assert reply.probabilities is not None
    assert sum(reply.probabilities.values()) == pytest.approx(1.0)
    assert reply.output == {"label": max(reply.probabilities, key=reply.probabilities.__getitem__)}
    assert reply.usage.input_tokens > 40
    assert reply.usage.output_tokens >= 1
    assert lm.hosting is Hosting.LOCAL
    assert "135 M" in lm.about


def test_a_score_is_the_expectation_over_its_levels(lm: EmbeddedLM) -> None:
    reply = ask(lm, TEXTS[0], RATING)
    shares = reply.probabilities
    assert shares is not None
    assert reply.output is not None
    assert reply.output["value"] == pytest.approx(shares["positive"] - shares["negative"])
    assert ask(lm, TEXTS[1], RATING).output["value"] < reply.output["value"]  # type: ignore[index]


def test_what_nothing_was_said_about_is_undecided(lm: EmbeddedLM) -> None:
    """The content-free inputs themselves come out about even; raw, one word takes nearly all."""
    shares = ask(lm, "N/A").probabilities
    assert shares is not None
    assert max(shares.values()) < 0.6


@pytest.fixture(scope="module")
def process(model_dir: Path) -> Iterator[LmProcess]:
    """A child that is asked without the engine around it."""
    made = LmProcess(command("inhouse.inference.engines.lm_child", str(model_dir)), threads=1)
    yield made
    made.close()


def request(text: str, *, key: str, spec: TaskSpec = MOOD) -> dict[str, Any]:
    def user(one: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": render(spec, one)}]

    return {
        "op": "likelihoods",
        "key": key,
        "probes": [user("N/A"), user("The")],
        "messages": user(text),
        "words": spec.words,
    }


def test_caching_and_batching_change_nothing(process: LmProcess) -> None:
    """Scores without a cache, one by one, against a cached prefix, alone and packed together, and
    with a prefix that does not fit the prompt."""

    def scores(asked: dict[str, Any]) -> list[float]:
        found: list[float] = process.submit(asked).result(180)["scores"]
        return found

    plain = [scores(request(text, key="")) for text in TEXTS]
    alone = [scores(request(text, key="k")) for text in TEXTS]
    packed = [
        each.result(180)["scores"]
        for each in [process.submit(request(text, key="k")) for text in TEXTS * 2]
    ]
    other = {**request(TEXTS[0], key="k"), "messages": [{"role": "user", "content": "Hi"}]}
    assert scores(other) == pytest.approx(scores({**other, "key": ""}))
    for number, expected in enumerate(plain):
        assert alone[number] == pytest.approx(expected, abs=1e-3)
        assert packed[number] == pytest.approx(expected, abs=1e-3)
        assert packed[number + len(TEXTS)] == pytest.approx(expected, abs=1e-3)
    assert len({tuple(scores) for scores in plain}) == len(TEXTS)


def test_likelihoods_are_those_of_plain_transformers(
    process: LmProcess, model_dir: Path, tmp_path: Path
) -> None:
    """A straightforward computation without packing, prefix or mask, in a process of its own."""
    script = tmp_path / "plain.py"
    script.write_text(
        "import json, sys, torch\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "folder, prompt, words = sys.argv[1], sys.argv[2], sys.argv[3:]\n"
        "tok = AutoTokenizer.from_pretrained(folder)\n"
        "model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()\n"
        "text = tok.apply_chat_template([{'role': 'user', 'content': prompt}],"
        " tokenize=False, add_generation_prompt=True)\n"
        "found = []\n"
        "for word in words:\n"
        "    start = tok(text).input_ids\n"
        "    end = tok(word).input_ids + [tok.eos_token_id]\n"
        "    with torch.no_grad():\n"
        "        logits = model(torch.tensor([start + end])).logits[0].log_softmax(-1)\n"
        "    at = range(len(start) - 1, len(start) + len(end) - 1)\n"
        "    found.append(sum(logits[i, t].item() for i, t in zip(at, end)))\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(model_dir), render(MOOD, TEXTS[3]), *MOOD.words],
        capture_output=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    found = process.submit(request(TEXTS[3], key="k")).result(180)["scores"]
    assert found == pytest.approx(json.loads(done.stdout), abs=1e-3)


def test_calibration_survives_and_a_batch_replaces_it(
    lm: EmbeddedLM, calibration_dir: Path, model_dir: Path
) -> None:
    spec = TaskSpec(
        name="own", kind=TaskKind.CHOICE, description="", labels=("good", "bad"), prompt=PROMPT
    )
    before = ask(lm, TEXTS[0], spec)
    path = calibration_dir / f"smollm2-135m-{spec.revision}.json"
    assert json.loads(path.read_text())["method"] == "content-free"
    made = lm.calibrate(spec, [*TEXTS, *TEXTS])
    assert json.loads(path.read_text())["method"] == made.method == "batch"
    after = ask(lm, TEXTS[0], spec)
    assert after.probabilities != before.probabilities
    stamp = path.stat().st_mtime_ns
    other = open_lm(model_dir, calibration_dir)
    again = ask(other, TEXTS[0], spec)
    asyncio.run(other.close())
    assert again.probabilities == pytest.approx(after.probabilities, abs=1e-4)
    assert path.stat().st_mtime_ns == stamp


def test_a_chat_is_an_openai_completion(lm: EmbeddedLM) -> None:
    reply = say(lm, "What is the capital of France?", max_tokens=20)
    assert "Paris" in reply.content
    assert reply.body is not None
    completion = ChatCompletion.model_validate(reply.body)
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.content == reply.content
    assert completion.usage is not None
    assert completion.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens


def test_a_chat_ends_at_its_limit_and_at_stop_strings(lm: EmbeddedLM) -> None:
    limited = say(lm, "Count from one to twenty in words.", max_tokens=5)
    assert limited.usage.output_tokens == 5
    assert limited.body is not None
    assert limited.body["choices"][0]["finish_reason"] == "length"
    stopped = say(lm, "What is the capital of France?", stop=[" Paris", "zzz"], max_tokens=20)
    assert "capital" in stopped.content
    assert "Paris" not in stopped.content
    assert stopped.body is not None
    assert stopped.body["choices"][0]["finish_reason"] == "stop"


def test_sampling_follows_its_seed(lm: EmbeddedLM) -> None:
    def story(seed: int) -> str:
        return say(
            lm, "Tell a story.", temperature=1.0, top_p=0.9, seed=seed, max_tokens=12
        ).content

    assert story(1) == story(1)
    assert len({story(seed) for seed in range(3)}) > 1
    greedy = {say(lm, "Tell a story.", max_tokens=8).content for _ in range(2)}
    assert len(greedy) == 1


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}], {}),
        ("word " * 9000, {}),
        ("hello", {"tools": [{"type": "function"}]}),
        ("hello", {"n": 2}),
    ],
)
def test_what_it_cannot_do_is_refused(
    lm: EmbeddedLM, content: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(BackendError) as caught:
        say(lm, content, **options)
    assert caught.value.code == "unsupported"
    assert not caught.value.retryable
    assert "Paris" in say(lm, "What is the capital of France?", max_tokens=20).content


def test_a_bad_request_fails_nobody_who_waits_with_it(lm: EmbeddedLM) -> None:
    async def together() -> list[Any]:
        asked = [lm.answer(Question(task=MOOD, text=text)) for text in (*TEXTS, "x " * 9000)]
        return await asyncio.gather(*asked, return_exceptions=True)

    *good, bad = asyncio.run(together())
    assert all(isinstance(each, Reply) for each in good)
    assert isinstance(bad, BackendError)
    assert bad.code == "unsupported"


def test_a_long_chat_holds_up_no_task(lm: EmbeddedLM) -> None:
    async def both() -> bool:
        chat = asyncio.ensure_future(
            lm.answer(
                Question(
                    messages=(Message("user", "Tell a long story."),), options={"max_tokens": 4000}
                )
            )
        )
        await lm.answer(Question(task=MOOD, text=TEXTS[0]))
        still_talking = not chat.done()
        chat.cancel()
        await asyncio.gather(chat, return_exceptions=True)
        return still_talking

    assert asyncio.run(both())


def test_answers_several_event_loops_at_once(lm: EmbeddedLM) -> None:
    expected = [ask(lm, text).output for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: ask(lm, text).output, TEXTS * 3))
    assert found == expected * 3


def test_answers_come_from_the_weights(lm: EmbeddedLM, model_dir: Path, tmp_path: Path) -> None:
    """Two tensors of a copy change places, and the answers change."""
    changed = tmp_path / "changed"
    shutil.copytree(model_dir, changed)
    weights = changed / "model.safetensors"
    weights.chmod(0o644)
    data = bytearray(weights.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    spans = [
        slice(
            *(
                start + at
                for at in header[f"model.layers.{layer}.mlp.up_proj.weight"]["data_offsets"]
            )
        )
        for layer in (2, 20)
    ]
    data[spans[0]], data[spans[1]] = data[spans[1]], data[spans[0]]
    weights.write_bytes(data)
    other = open_lm(changed, tmp_path / "calibration")
    asked = [ask(other, text).probabilities for text in TEXTS]
    asyncio.run(other.close())
    for text, found in zip(TEXTS, asked, strict=True):
        assert ask(lm, text).probabilities != pytest.approx(found, abs=0.01)


def test_a_crash_fails_what_was_asked_and_is_recovered_from(
    model_dir: Path, calibration_dir: Path
) -> None:
    lm = open_lm(model_dir, calibration_dir)

    async def crash() -> list[Any]:
        await lm.answer(Question(task=MOOD, text=TEXTS[0]))
        asked = [
            asyncio.ensure_future(lm.answer(Question(messages=(Message("user", "Tell a story."),))))
            for _ in range(3)
        ]
        await asyncio.sleep(0)
        assert lm._process is not None
        os.kill(lm._process.pid, signal.SIGKILL)
        return await asyncio.gather(*asked, return_exceptions=True)

    for error in asyncio.run(crash()):
        assert isinstance(error, BackendError)
        assert error.code == "engine-crashed"
        assert error.retryable
        assert "SIGKILL" in error.message
    assert ask(lm, TEXTS[0]).output is not None
    asyncio.run(lm.close())
    with pytest.raises(BackendError) as caught:
        ask(lm, TEXTS[0])
    assert caught.value.code == "engine-closed"


def test_crashes_in_a_row_are_paused_between(model_dir: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model_dir, broken)
    (broken / "config.json").unlink()
    lm = open_lm(broken, tmp_path / "calibration")
    codes = []
    for _ in range(2):
        with pytest.raises(BackendError) as caught:
            say(lm, "hello")
        assert caught.value.retryable
        codes.append(caught.value.code)
    lm._not_before = time.monotonic() + 500
    with pytest.raises(BackendError) as caught:
        say(lm, "hello")
    assert codes == ["engine-crashed"] * 2
    assert caught.value.code == "engine-paused"
    assert 0 < (caught.value.retry_after or 0) <= 500
    asyncio.run(lm.close())


def test_no_orphan_is_left_by_a_killed_parent(model_dir: Path, tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from inhouse.inference.engines.lm import EmbeddedLM\n"
        "lm = EmbeddedLM('embedded/x', model_dir=Path(sys.argv[1]), calibration_dir=Path('.'))\n"
        "lm.start()\n"
        "print(lm._process.pid, flush=True)\n"
        "threading.Event().wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(model_dir)], stdout=subprocess.PIPE, cwd=tmp_path
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    assert eventually(lambda: not Path(f"/proc/{child}/cmdline").exists() or _is_zombie(child))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_the_parent_never_imports_torch(model_dir: Path, tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from inhouse.inference.base import Message, Question\n"
        "from inhouse.inference.engines.lm import EmbeddedLM\n"
        "lm = EmbeddedLM('embedded/x', model_dir=Path(sys.argv[1]), calibration_dir=Path('.'))\n"
        "async def main():\n"
        "    asked = Question(messages=(Message('user', 'Hi'),), options={'max_tokens': 1})\n"
        "    await lm.answer(asked)\n"
        "    await lm.close()\n"
        "asyncio.run(main())\n"
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(model_dir)], capture_output=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == b"[]"


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        open_lm(tmp_path, tmp_path)
    assert caught.value.code == "base-missing"
