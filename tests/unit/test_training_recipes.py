"""Recipes, preflight, and what worker and child hand each other."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import Invalid
from inhouse.datasets.example import Example
from inhouse.inference.engines.encoder import Prediction
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock
from inhouse.training import handover, parity, recipes
from inhouse.training.child import Reporter
from inhouse.training.handover import Order
from inhouse.training.preflight import Host, check_examples, check_host, in_words
from inhouse.training.trainers.base import (
    Probe,
    TrainedArtifact,
    TrainingFailed,
    Variant,
    curve_point,
)
from inhouse.training.trainers.encoder_full import EncoderFull
from inhouse.training.trainers.encoder_head import EncoderHead, EncoderHeadSettings
from inhouse.training.trainers.encoder_settings import (
    EncoderFullSettings,
    estimate,
    rounds_of,
    sized,
)
from inhouse.training.trainers.encoder_texts import Window, batches

CHOICE = TaskSpec(
    name="mood", kind=TaskKind.CHOICE, description="", labels=("bad", "good"), prompt="p"
)
SCORE = TaskSpec(name="tone", kind=TaskKind.SCORE, description="", prompt="p")
ROOMY = Host(free_bytes=10**12, has_module=lambda _: True)


def example(text: str, target: object, group: str = "") -> Example:
    key = "label" if isinstance(target, str) else "value"
    return Example(input=text, target={key: target}, group=group or text, origin={"kind": "import"})


def choices(bad: int, good: int) -> list[Example]:
    found = [example(f"b{n}", "bad") for n in range(bad)]
    return found + [example(f"g{n}", "good") for n in range(good)]


def test_a_recipe_resolves_with_defaults_and_overrides() -> None:
    trainer, settings = recipes.resolve("encoder-head.v1", {"seed": 7, "class_weight": "none"})
    assert isinstance(trainer, EncoderHead)
    assert isinstance(settings, EncoderHeadSettings)
    assert (settings.seed, settings.class_weight, settings.base) == (7, "none", "minilm-l6")


def test_stored_settings_resolve_to_themselves() -> None:
    _, settings = recipes.resolve(recipes.DEFAULT, {"penalties": [0.5, 2]})
    plain = settings.model_dump(mode="json")
    assert recipes.resolve(recipes.DEFAULT, plain)[1] == settings


@pytest.mark.parametrize(
    ("name", "overrides", "said", "hint"),
    [
        ("magic.v1", {}, "magic.v1", "encoder-head.v1"),
        (recipes.DEFAULT, {"fold": 3}, "fold: unknown key", "folds"),
        (recipes.DEFAULT, {"folds": 1}, "folds", "penalties"),
        (recipes.DEFAULT, {"penalties": []}, "penalties", "folds"),
        (recipes.DEFAULT, {"penalties": [0]}, "penalties.0", "folds"),
        (recipes.DEFAULT, {"max_seconds": float("inf")}, "max_seconds", "folds"),
        (recipes.DEFAULT, {"base": "../etc"}, "base", "folds"),
    ],
)
def test_what_a_recipe_does_not_know_is_refused_with_what_there_is(
    name: str, overrides: dict[str, object], said: str, hint: str
) -> None:
    with pytest.raises(Invalid, match=said) as caught:
        recipes.resolve(name, overrides)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("spec", "examples", "reason"),
    [
        (CHOICE, choices(4, 4), ""),
        (CHOICE, choices(3, 4), "7 examples"),
        (CHOICE, choices(0, 9), "no example of 'bad'"),
        (
            CHOICE,
            [*choices(0, 9), *[example(f"x{n}", "bad", "one") for n in range(3)]],
            "one group",
        ),
        (SCORE, [example(f"t{n}", n / 10) for n in range(8)], ""),
        (SCORE, [example(f"t{n}", 0.5) for n in range(8)], "same value"),
        (SCORE, [example(f"t{n}", n / 10, "one") for n in range(8)], "one group"),
    ],
)
def test_preflight_says_what_is_wrong_with_the_examples(
    spec: TaskSpec, examples: list[Example], reason: str
) -> None:
    found = check_examples(spec, examples)
    assert found.ok == (not reason)
    assert reason in "; ".join(found.reasons)
    assert bool(found.hint) == bool(reason)


def test_preflight_says_what_the_machine_lacks() -> None:
    bare = Host(free_bytes=10**12, has_module=lambda name: name != "sklearn")
    found = EncoderHead().check(CHOICE, choices(5, 5), bare, EncoderHeadSettings())
    assert found.reasons == ("sklearn is not installed",)
    assert found.hint == "pip install 'inhouse[train]'"
    full = Host(free_bytes=10, has_module=lambda _: True)
    assert "disk" in check_host(full, modules=(), extra="train", disk_bytes=10**9).reasons[0]
    assert EncoderHead().check(CHOICE, choices(5, 5), ROOMY, EncoderHeadSettings()).ok


def test_an_order_comes_out_as_it_went_in(tmp_path: Path) -> None:
    order = Order(spec=SCORE, recipe="r.v1", settings={"seed": 1}, base=tmp_path / "base")
    examples = [example("line one\nline two \u2028 \x00 ü", 0.25), example("b", 1.0)]
    handover.write_order(tmp_path, order, examples)
    assert handover.read_order(tmp_path) == (order, examples)
    assert handover.read_order(tmp_path)[0].spec.revision == SCORE.revision


def test_a_result_comes_out_as_it_went_in(tmp_path: Path) -> None:
    artifact = TrainedArtifact(
        files=tmp_path / "artifact",
        variants=(Variant(id="onnx-int8", format="onnx", dtype="int8", files=("e.onnx",)),),
        metrics={"macro_f1": 0.5},
        metadata={"labels": ["a"]},
        probe=(Probe(text="t", output={"label": "a"}, probabilities={"a": 1.0}),),
    )
    with pytest.raises(FileNotFoundError):
        handover.read_result(tmp_path)
    handover.write_result(tmp_path, artifact)
    assert handover.read_result(tmp_path) == artifact


def test_progress_is_sent_when_it_says_something_new() -> None:
    clock, sent = FrozenClock(), []
    report = Reporter(sent.append, clock)
    report(0, 10, "encoding")
    report(1, 10, "encoding")
    clock.advance(1)
    report(2, 10, "encoding")
    report(3, 10, "fitting")
    report(10, 10, "fitting")
    assert [line["done"] for line in sent] == [0, 2, 3, 10]


def test_a_point_of_a_curve_is_always_sent() -> None:
    sent: list[Any] = []
    report = Reporter(sent.append, FrozenClock())
    point = curve_point(
        part="fold 1 of 2", epoch=0.50004, step=3, train_loss=0.123456789, seconds_left=12.6
    )
    report(1, 10, "fold 1 of 2, epoch 1 of 4", point)
    report(1, 10, "fold 1 of 2, epoch 1 of 4", {**point, "valid_score": 0.5})
    report(1, 10, "fold 1 of 2, epoch 1 of 4")
    assert [line["point"]["valid_score"] for line in sent] == [None, 0.5]
    assert sent[0]["point"] == {
        "part": "fold 1 of 2",
        "epoch": 0.5,
        "step": 3,
        "train_loss": 0.12346,
        "valid_score": None,
        "seconds_left": 13,
    }


@pytest.mark.parametrize(
    ("count", "folds", "held_out", "rounds"),
    [(500, 3, 500, 3), (1000, 3, 500, 2), (1500, 3, 500, 1), (8, 3, 500, 3), (60, 2, 1, 1)],
)
def test_as_many_folds_are_held_out_as_give_enough_examples(
    count: int, folds: int, held_out: int, rounds: int
) -> None:
    assert rounds_of(count, folds, held_out) == rounds


@pytest.mark.parametrize(
    ("count", "batch", "epochs"),
    [(60, 8, 12), (500, 8, 7), (999, 8, 4), (1000, 16, 7), (3875, 16, 4)],
)
def test_few_examples_are_learned_from_more_often(count: int, batch: int, epochs: int) -> None:
    found = sized(EncoderFullSettings(), count)
    assert (found.batch, found.epochs) == (batch, epochs)
    told = sized(EncoderFullSettings(batch=32, epochs=2), count)
    assert (told.batch, told.epochs) == (32, 2)


def test_preflight_says_how_long_a_fine_tune_takes() -> None:
    settings = EncoderFullSettings(threads=1)
    rows = [example("x" * 86, str(number)) for number in range(500)]
    seconds = estimate(rows, settings)
    assert seconds == pytest.approx(500 * 22 * (7 * (1 + 2 * 2 / 3) + 1 / 3) / 1100 + 25, rel=0.01)
    assert estimate(rows, EncoderFullSettings(threads=2)) < seconds
    long = [example("x" * 90_000, str(number)) for number in range(500)]
    read = 500 * 90_000 / 4.3 / 3
    assert estimate(long, settings) == pytest.approx(
        (500 * 128 * 7 * (1 + 2 * 2 / 3) + read) / 1100 + 25, rel=0.01
    )
    found = EncoderFull().check(CHOICE, choices(250, 250), ROOMY, settings)
    assert found.ok
    assert found.seconds is not None
    short = EncoderFullSettings(max_seconds=20.0)
    refused = EncoderFull().check(CHOICE, choices(250, 250), ROOMY, short)
    assert "may take 20 s" in refused.reasons[0]
    assert "max_seconds" in refused.hint
    few = EncoderFull().check(CHOICE, choices(0, 9), ROOMY, settings)
    assert (few.ok, few.seconds) == (False, None)


@pytest.mark.parametrize(
    ("seconds", "words"), [(1, "5 s"), (62, "60 s"), (240, "4 min"), (9000, "2.5 h")]
)
def test_durations_are_rough(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_batches_hold_every_text_once_and_texts_of_one_length() -> None:
    windows = [Window((0,) * (3 + number * 7 % 50)) for number in range(100)]
    plain = list(batches(windows, 8))
    assert sorted(at for batch in plain for at in batch) == list(range(100))
    lengths = [len(windows[at].pieces) for batch in plain for at in batch]
    assert lengths == sorted(lengths)
    drawn = [list(batches(windows, 8, random.Random(seed))) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(at for batch in drawn[0] for at in batch) == list(range(100))
    spread = [
        max(len(windows[at].pieces) for at in batch) - min(len(windows[at].pieces) for at in batch)
        for batch in drawn[0]
    ]
    assert max(spread) <= 6


PROBES = (
    Probe(text="a", output={"label": "bad"}, probabilities={"bad": 0.7, "good": 0.3}),
    Probe(text="b", output={"value": 0.5}),
)


def test_parity_measures_the_largest_difference() -> None:
    replies = [
        Prediction({"label": "bad"}, {"bad": 0.7004, "good": 0.2996}, 1),
        Prediction({"value": 0.5001}, None, 1),
    ]
    assert parity.largest_difference(PROBES, replies) == pytest.approx(0.0004)


@pytest.mark.parametrize(
    "reply",
    [
        Prediction({"label": "bad"}, {"bad": 0.72, "good": 0.28}, 1),
        Prediction({"label": "bad"}, {"bad": 0.7, "fine": 0.3}, 1),
        Prediction({"label": "bad"}, None, 1),
    ],
)
def test_parity_refuses_another_answer(reply: Prediction) -> None:
    with pytest.raises(TrainingFailed, match="probe 1 of 1"):
        parity.largest_difference(PROBES[:1], [reply])


@pytest.mark.parametrize("kind", [TaskKind.SPANS, TaskKind.JSON, TaskKind.TEXT])
def test_a_kind_that_no_recipe_trains_is_refused_by_name(kind: TaskKind) -> None:
    spec = TaskSpec(name="other", kind=kind, description="", prompt="p")
    with pytest.raises(Invalid, match=f"{recipes.DEFAULT} trains no {kind}") as caught:
        recipes.check_kind(recipes.DEFAULT, spec)
    assert caught.value.code == "recipe-kind"
    assert f"{recipes.DEFAULT} trains choice and score" in caught.value.hint
    assert not check_examples(spec, choices(9, 9)).ok
    recipes.check_kind(recipes.DEFAULT, CHOICE)
