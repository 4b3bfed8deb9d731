"""Whatever a model says: a valid output of the task or a refusal to guess, and soon."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.settings import Settings, TaskSettings
from inhouse.tasks.catalog import load_catalog
from inhouse.tasks.outputs import Unparsable, check, parse
from inhouse.tasks.spec import TaskSpec

CATALOG = load_catalog(
    Settings(
        tasks={
            "mood": TaskSettings(
                kind="choice",
                labels=("good", "not good", "très bon", "a.b*c"),
                prompt="{{ input }}",
            ),
            "grade": TaskSettings(kind="score", range=(-1.0, 1.0), prompt="{{ input }}"),
            "essay": TaskSettings(kind="text", prompt="{{ input }}"),
            "names": TaskSettings(kind="spans", labels=("PERSON", "a.b*c"), prompt="{{ input }}"),
            "report": TaskSettings(
                kind="json",
                schema={
                    "type": "object",
                    "properties": {
                        "label": {"type": "string"},
                        "value": {"type": "number", "minimum": 0, "maximum": 1, "x-clamp": True},
                    },
                },
                prompt="{{ input }}",
            ),
        }
    )
)
SPECS = [CATALOG.get(name) for name in ("mood", "grade", "essay", "names", "report")]
TEXT = "Ada, ada of a.b*c is good; 東京 \U0001f600 İs ß\u0301 good  Ada"
SAID = [
    "good", "not good", "TRÈS BON", "a.b*c", "score", "is", "sentiment", "the", "0.5", "-1", "−.5",
    "1e3", "50%", "3/5", "{", "}", '{"label":"good"}', '{"value": 0.2}', '{"score": [1]}', "```",
    "```json\n", "I'm sorry", "as an AI", "not", "n't", "neither", "from -1 to 1", "between", "\n",
    ":", "**", "\x00", "\ud800", "İ", "ß", "１", "٣", "∞", "NaN", '{"label": null}', "1.5.2", "--",
    '{"spans": [', '{"text": "Ada", "label": "PERSON"}', '{"text": "is", "label": "a.b*c"}', ",",
    "]", "]}", '{"PERSON": ["Ada", "is"]}', '{"spans": []}', '{"value": 1.2}', '"',
    '{"a": {"value": 0}}',
]  # fmt: skip
GUARD_S = 30.0


def judge(spec: TaskSpec, said: str) -> None:
    try:
        output = parse(spec, said, TEXT)
    except Unparsable:
        return
    assert check(spec, output, TEXT) == output


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.sampled_from(SPECS), st.text(max_size=200))
def test_random_text(spec: TaskSpec, said: str) -> None:
    judge(spec, said)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_random_answers(spec: TaskSpec) -> None:
    rng = random.Random(f"answers to {spec.name}")
    for _ in range(3000):
        words = rng.choices(SAID, k=rng.randint(1, 9))
        judge(spec, rng.choice(["", " "]).join(words))


N = 100_000
LONG: dict[str, Callable[[], str]] = {
    "digits": lambda: "1" * N,
    "dotted": lambda: "1." * N,
    "signs": lambda: "-" * N,
    "exponents": lambda: "1e" * N,
    "braces": lambda: "{" * N,
    "pairs": lambda: "{}" * N,
    "half an object": lambda: "{" + "a" * N,
    "fences": lambda: "```" * N,
    "blanks in a fence without end": lambda: "```json" + " " * N + "x",
    "objects": lambda: '{"value": 1}' * (N // 10),
    "half a string": lambda: '{"' * N,
    "many quotes": lambda: '{"PERSON": [' + '"Ada",' * (N // 10) + '"Ada"]}',
    "a long quote": lambda: '{"PERSON": ["' + "Ada " * (N // 10) + '"]}',
    "a wrapped object": lambda: '{"a": ' * 900 + '{"value": 1}' + "}" * 900,
    "a fence without end": lambda: "```json" + " " * N,
    "blanks": lambda: " " * N + "x",
    "blanks inside": lambda: "good" + " " * N + "x",
    "scales": lambda: "from " * N,
    "a scale of blanks": lambda: "from" + " " * N,
    "a scale without end": lambda: "from 1" + " " * N,
    "a scale of digits": lambda: "between " + "1" * N,
    "scales of dots": lambda: "between 1.1.1.1 " * (N // 10),
    "named": lambda: "score is the a an of at be would " * (N // 20),
    "named blanks": lambda: "score is" + " " * N,
    "named many": lambda: "score is " * N,
    "labels": lambda: "good " * N,
    "denied": lambda: "not " * N + "good",
    "not and blanks": lambda: "not" + " " * N + "good",
    "labels and not": lambda: "good not " * (N // 10),
    "refusals": lambda: "i am " * N,
    "unable": lambda: "unable to " * N,
    "quotes": lambda: "\"'`*:!" * N + "x",
    "nested": lambda: "[" * N,
    "an escape without end": lambda: '{"label": "' + "\\" * N,
    "words": lambda: "word" * N,
    "combining": lambda: "e\u0301" * N,
}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("text", LONG)
def test_long_answers_are_read(spec: TaskSpec, text: str) -> None:
    """What backtracks would take hours; the guard ends it."""

    def end(*_: object) -> None:
        raise TimeoutError(text)

    said = LONG[text]()
    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, GUARD_S)
    try:
        judge(spec, said)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
