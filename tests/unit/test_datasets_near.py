"""Near repeats: found exactly, in one group or left out, whatever the order."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.core.errors import Invalid
from inhouse.datasets import near
from inhouse.datasets.dedupe import dedupe, normalise
from inhouse.datasets.example import Example, named_group, text_group
from inhouse.datasets.near import NearMethod, NearSettings, WordNearness, near_settings
from inhouse.datasets.split import SplitSettings, assign
from inhouse.tasks.spec import TaskKind, TaskSpec

START = datetime(2026, 1, 1, tzinfo=UTC)
LONG = "the board said on friday that profit in the third quarter rose to {} million euros"


def _example(
    text: str, target: Mapping[str, Any] | None = None, *, day: int | None = 0, group: str = ""
) -> Example:
    return Example(
        input=text,
        target=target or {"label": "a"},
        group=named_group(group) if group else text_group(normalise(text)),
        origin={"kind": "import", "source": "f", "row": 1},
        occurred_at=None if day is None else START + timedelta(days=day),
    )


def _jaccard(one: str, other: str) -> float:
    sets = []
    for text in (one, other):
        words = text.split()
        sets.append({tuple(words[n : n + 3]) for n in range(max(1, len(words) - 2))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=12), min_size=1, max_size=14),
    st.sampled_from([0.3, 0.5, 0.6, 0.7, 1.0]),
)
@settings(deadline=None)
def test_the_first_near_text_is_the_one_that_comparing_all_pairs_finds(
    texts: list[list[str]], threshold: float
) -> None:
    plain = [" ".join(words) for words in texts]
    scan = WordNearness(plain, threshold).scan()
    for position, text in enumerate(plain):
        wanted = (n for n in range(position) if _jaccard(plain[n], text) >= threshold - 1e-9)
        assert scan.first(position, (0,)) == next(wanted, None)
        scan.add(position, 0)


def test_only_the_sides_that_are_asked_for_are_looked_at() -> None:
    scan = WordNearness([LONG.format(n) for n in range(3)], 0.6).scan()
    scan.add(0, 0)
    scan.add(1, 1)
    assert [scan.first(2, sides) for sides in ((0,), (1,), (0, 1), (2,), ())] == [
        0,
        1,
        0,
        None,
        None,
    ]


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    one = "公司第三季度利润增长到五百万欧元董事会周五表示"
    scan = WordNearness([one, one.replace("五百", "六百")], 0.6).scan()
    scan.add(0, 0)
    assert scan.first(1, (0,)) == 0


def _frozen(
    examples: Sequence[Example], split: SplitSettings | None = None
) -> tuple[list[Example], set[int]]:
    aged = near.oldest_first(dedupe(examples).examples)
    nearness = near.measure(aged, NearSettings(), None)
    joined = near.join(aged, nearness)
    placed = assign(joined.examples, salt="mood", settings=split or SplitSettings())
    return placed, near.straddling(placed, nearness)


def test_a_near_repeat_follows_the_oldest_and_is_kept() -> None:
    examples = [_example(LONG.format(n), day=n) for n in range(30)]
    placed, out = _frozen(examples)
    assert out == set()
    assert {example.group for example in placed} == {examples[0].group}
    assert len({example.split for example in placed}) == 1


@pytest.mark.parametrize("day", [1, None])
def test_what_came_later_moves_nothing(day: int | None) -> None:
    old = [_example(f"{n} some words that are said nowhere else {n * 7}") for n in range(200)]
    repeats = [_example(old[n].input + " today", day=day) for n in range(0, 200, 3)]
    before, _ = _frozen(old)
    after, _ = _frozen([*repeats, *old])
    places = {example.input: example.split for example in after}
    assert {example.split for example in before} == {"train", "valid", "test"}
    assert [places[example.input] for example in before] == [e.split for e in before]


def test_documents_stay_whole_and_the_younger_straddling_text_goes() -> None:
    documents = [
        _example(f"{kind} {n} of its own", group=f"d{n}", day=n)
        for n in range(60)
        for kind in ("first text", "second text")
    ]
    shared = [_example(LONG.format(n), group=f"d{n}", day=n) for n in range(60)]
    placed, out = _frozen([*shared, *documents])
    kept = [example for position, example in enumerate(placed) if position not in out]
    assert out
    assert all(placed[position].input.startswith("the board") for position in out)
    assert shared[0].input in {example.input for example in kept}
    left = {example.split for example in kept if example.input.startswith("the board")}
    assert len(left) == 1
    for n in range(60):
        assert len({e.split for e in placed if e.group == f"group:d{n}"}) == 1


def test_a_text_near_to_two_splits_goes_and_both_stay() -> None:
    words = [f"w{n}" for n in range(40)]
    seen = set()
    for salt in range(40):
        left = _example(" ".join([*words[:20], f"left{salt}"]))
        right = _example(" ".join([*words[20:], f"right{salt}"]))
        middle = _example(" ".join(words[4:36]), day=1)
        aged = near.oldest_first([middle, left, right])
        nearness = WordNearness([e.input for e in aged], 0.3)
        joined = near.join(aged, nearness)
        placed = assign(joined.examples, salt=str(salt), settings=SplitSettings())
        out = near.straddling(placed, nearness)
        apart = placed[0].split != placed[1].split
        assert out == ({2} if apart else set())
        seen.add(apart)
    assert seen == {True, False}


_texts = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abc"), min_size=4, max_size=9),
        st.integers(0, 2),
        st.sampled_from(["", "", "d1", "d2", "d3"]),
    ),
    max_size=25,
)


@given(_texts, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_does_not_matter_and_nothing_near_straddles(
    rows: list[tuple[list[str], int, str]], rng: Random
) -> None:
    examples = [_example(" ".join(words), day=day, group=group) for words, day, group in rows]
    placed, out = _frozen(examples)
    shuffled = list(examples)
    rng.shuffle(shuffled)
    assert _frozen(shuffled) == (placed, out)
    kept = [example for position, example in enumerate(placed) if position not in out]
    for one in kept:
        for other in kept:
            if one.split != other.split:
                assert _jaccard(one.input, other.input) < 0.6
                assert one.group != other.group


def test_off_changes_nothing() -> None:
    examples = [_example(LONG.format(n), day=n) for n in range(5)]
    assert near.measure(examples, NearSettings(method=NearMethod.OFF), None) is None
    assert near.join(examples, None).examples == tuple(examples)
    assert near.straddling(examples, None) == set()


def test_settings_by_the_name_of_a_method() -> None:
    assert near_settings("text", 0.5) == NearSettings(words=0.5)
    assert near_settings("embedding", 0.95).meaning == 0.95
    assert near_settings("off").method is NearMethod.OFF
    for method, threshold, code in (("fuzzy", None, "near-method"), ("text", 0, "near-threshold")):
        with pytest.raises(Invalid) as refused:
            near_settings(method, threshold)
        assert refused.value.code == code


_BASE = TaskSpec(name="t", kind=TaskKind.CHOICE, description="", labels=("a", "b"), prompt="x")
_SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "number"}, "who": {"type": "string"}},
    "required": ["n", "who"],
}


def _span(text: str, words: str, label: str) -> dict[str, Any]:
    start = text.index(words)
    return {"start": start, "end": start + len(words), "label": label, "text": words}


@pytest.mark.parametrize(
    ("kind", "one", "other", "disagree"),
    [
        (TaskKind.CHOICE, {"label": "a"}, {"label": "b"}, True),
        (TaskKind.CHOICE, {"label": "a"}, {"label": "a"}, False),
        (TaskKind.SCORE, {"value": 0.2}, {"value": 0.4}, False),
        (TaskKind.SCORE, {"value": 0.2}, {"value": 0.6}, True),
        (TaskKind.TEXT, {"text": "short"}, {"text": "another one"}, False),
        (TaskKind.JSON, {"n": 1, "who": "Ada"}, {"n": 1, "who": "Ada"}, False),
        (TaskKind.JSON, {"n": 1, "who": "Ada"}, {"n": 1, "who": "Bob"}, True),
        (TaskKind.SPANS, {"spans": ["Acme:a"]}, {"spans": ["Acme:b"]}, True),
        (TaskKind.SPANS, {"spans": ["Acme:a"]}, {"spans": []}, True),
        (TaskKind.SPANS, {"spans": ["Acme:a", "5:b"]}, {"spans": ["Acme:a", "7:b"]}, False),
    ],
)
def test_what_contradicts_in_every_kind(
    kind: TaskKind, one: dict[str, Any], other: dict[str, Any], *, disagree: bool
) -> None:
    spec = replace(_BASE, kind=kind, labels=("a", "b") if kind is not TaskKind.JSON else ())
    if kind is TaskKind.JSON:
        spec = replace(spec, schema=_SCHEMA)
    texts = ("Acme gained 5 points", "Acme gained 7 points")
    examples = []
    for text, target in zip(texts, (one, other), strict=True):
        if "spans" in target:
            pairs = [span.split(":") for span in target["spans"]]
            target = {"spans": [_span(text, words, label) for words, label in pairs]}
        examples.append(_example(text, target))
    assert near.disagree(spec, *examples) is disagree


@pytest.mark.data
def test_repeats_of_a_public_set_end_on_one_side(bench_data: Path) -> None:
    with (bench_data / "news" / "financial_phrasebank.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    examples = [_example(row["text"], {"label": row["label"]}) for row in rows]
    aged = near.oldest_first(dedupe(examples).examples)
    nearness = near.measure(aged, NearSettings(words=0.5), None)
    alone = assign(aged, salt="phrasebank", settings=SplitSettings())
    assert len(near.straddling(alone, nearness)) >= 30, "the set repeats itself across splits"
    joined = near.join(aged, nearness)
    placed = assign(joined.examples, salt="phrasebank", settings=SplitSettings())
    out = near.straddling(placed, nearness)
    assert len(joined.repeats) >= 100
    assert len(out) <= 3
    assert (
        near.straddling([e for n, e in enumerate(placed) if n not in out], _again(placed, out))
        == set()
    )


def _again(placed: Sequence[Example], out: set[int]) -> WordNearness:
    return WordNearness([e.input for n, e in enumerate(placed) if n not in out], 0.5)
