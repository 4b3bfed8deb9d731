"""Figures, floors and the gate for spans, objects and texts."""

from __future__ import annotations

import random
from typing import Any

import pytest

from inhouse.evaluation import floors
from inhouse.evaluation.gate import GateSettings, VerdictKind, compare, decide
from inhouse.evaluation.measure import Answer, Result, measure
from inhouse.tasks.outputs import check
from inhouse.tasks.spec import TaskKind, TaskSpec

NAMES = TaskSpec(
    name="names", kind=TaskKind.SPANS, description="", labels=("PERSON", "PLACE"), prompt="x"
)
REPORT = TaskSpec(
    name="report",
    kind=TaskKind.JSON,
    description="",
    schema={
        "type": "object",
        "properties": {
            "topic": {"enum": ["trade", "sport"]},
            "tone": {"type": "number", "minimum": 0, "maximum": 1},
        },
        "required": ["topic"],
    },
    prompt="x",
)
GIST = TaskSpec(name="gist", kind=TaskKind.TEXT, description="", prompt="x")
PEOPLE, PLACES = ("Ada", "Bob", "Zoe", "Max"), ("Rome", "Oslo")


def _texts(n: int) -> list[tuple[str, dict[str, Any], float]]:
    rng = random.Random(3)
    rows = []
    for at in range(n):
        person, place = rng.choice(PEOPLE), rng.choice(PLACES)
        text = f"On day {at} {person} left {place}."
        quotes = [{"text": person, "label": "PERSON"}, {"text": place, "label": "PLACE"}]
        rows.append((text, check(NAMES, quotes, text), 1.0))
    return rows


def _measured(
    spec: TaskSpec, name: str, outputs: list[Any], targets: list[Any], role: str = "floor"
) -> Result:
    answers = [Answer(output=output) for output in outputs]
    return measure(
        spec,
        reference=name,
        role=role,
        about="",
        answers=answers,
        targets=targets,
        rng=random.Random(1),
    )


def test_the_floors_of_spans_are_nothing_and_the_words_seen_before() -> None:
    train = [
        ("Ada of Rome", check(NAMES, [{"text": "Ada", "label": "PERSON"}], "Ada of Rome"), 1.0),
        ("Adas", check(NAMES, [], "Adas"), 1.0),
    ]
    found = {floor.name: floor for floor in floors.fitted(NAMES, train, ["Bob, Ada", "Adas"])}
    assert set(found) == {"majority", "gazetteer"}
    assert [answer.output for answer in found["majority"].answers] == [{"spans": []}] * 2
    ada = {"start": 5, "end": 8, "label": "PERSON", "text": "Ada"}
    assert [a.output for a in found["gazetteer"].answers] == [{"spans": [ada]}, {"spans": []}]


def test_the_floor_of_objects_is_the_most_frequent_field() -> None:
    targets = [
        {"topic": "sport", "tone": 0.1},
        {"topic": "trade", "tone": 0.9},
        {"topic": "trade", "tone": 0.2},
    ]
    train = [("x", target, 1.0) for target in targets]
    (most,) = floors.fitted(REPORT, train, ["x"])
    assert (most.name, most.answers[0].output) == ("majority", {"topic": "trade", "tone": 0.2})


def test_the_floors_of_texts_are_one_text_and_the_first_words() -> None:
    train = [("x", {"text": text}, 1.0) for text in ("a b c", "d e f", "d e f")]
    most, lead = floors.fitted(GIST, train, ["one two  three four", "one"])
    assert most.answers[0].output == {"text": "d e f"}
    assert [answer.output for answer in lead.answers] == [
        {"text": "one two  three"},
        {"text": "one"},
    ]


def test_a_tagger_is_judged_like_any_model() -> None:
    """One that only knows the words of training is no better than they are."""
    rows = _texts(60)
    targets = [target for _, target, _ in rows]
    texts = [text for text, _, _ in rows]
    found = floors.fitted(NAMES, _texts(20)[:2], texts)
    others = [_measured(NAMES, f.name, [a.output for a in f.answers], targets) for f in found]
    rng = random.Random(1)

    def verdict(outputs: list[Any]) -> VerdictKind:
        candidate = _measured(NAMES, "names@1", outputs, targets, "candidate")
        comparisons = [compare(candidate, other, rng) for other in others]
        return decide(candidate, comparisons, GateSettings()).kind

    assert verdict(list(targets)) is VerdictKind.PASS
    assert verdict([answer.output for answer in found[1].answers]) is VerdictKind.FAIL
    assert verdict([None] * 60) is VerdictKind.FAIL


def test_figures_have_intervals_and_no_calibration() -> None:
    rows = _texts(40)
    targets = [target for _, target, _ in rows]
    outputs = [*targets[:30], *({"spans": target["spans"][:1]} for target in targets[30:])]
    found = _measured(NAMES, "n", outputs, targets).figures
    assert set(found) == {"score", "precision", "recall", "f1", "f1.PERSON", "f1.PLACE"}
    assert found["precision"].estimate == found["f1.PERSON"].estimate == 1.0
    assert found["recall"].estimate == pytest.approx(70 / 80)
    assert found["recall"].low < 70 / 80 < found["recall"].high
    right = {"topic": "trade", "tone": 0.5}
    report = _measured(REPORT, "r", [right, None, {"topic": "trade"}], [right] * 3).figures
    assert set(report) == {"score", "field.topic", "field.tone", "valid"}
    assert report["field.tone"].estimate == pytest.approx(1 / 3)
    assert set(_measured(GIST, "g", [{"text": "a"}], [{"text": "a"}]).figures) == {
        "score",
        "rouge_l",
    }


def test_a_property_called_label_is_no_choice() -> None:
    schema = {"type": "object", "properties": {"label": {"type": "string"}}}
    spec = TaskSpec(name="t", kind=TaskKind.JSON, description="", schema=schema, prompt="x")
    answers = [Answer(output={"label": "a"}, probabilities={"a": 0.5})]
    found = measure(
        spec,
        reference="t",
        role="floor",
        about="",
        answers=answers,
        targets=[{"label": "a"}],
        rng=random.Random(1),
    )
    assert "ece" not in found.figures
