"""Confusion, figures per label, reliability and worst errors, from answers and targets."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from inhouse.evaluation.report import (
    Confusion,
    Item,
    LabelFigures,
    confusion,
    of_labels,
    of_spans,
    report,
    trust_in_choices,
    trust_in_values,
    wilson,
    worst,
)
from inhouse.tasks.scoring import macro_f1


def item(
    output: Mapping[str, Any] | None,
    *,
    score: float = 0.0,
    sure: float | None = None,
    position: int = 0,
) -> Item:
    probabilities = None if sure is None else {"said": sure, "other": 1 - sure}
    return Item(position=position, output=output, probabilities=probabilities, score=score)


def choice(label: str) -> dict[str, str]:
    return {"label": label}


def test_a_matrix_counts_answers_by_truth_and_keeps_failures_apart() -> None:
    items = [item(choice("a")), item(choice("b")), item(choice("b")), item(None)]
    targets = [choice("a"), choice("a"), choice("b"), choice("b")]
    assert confusion(("a", "b"), items, targets) == Confusion(
        labels=("a", "b"), counts=((1, 1), (0, 1)), failures=(0, 1)
    )


def test_labels_that_are_no_longer_declared_still_have_a_row() -> None:
    matrix = confusion(("a",), [item(choice("old"))], [choice("a")])
    assert (matrix.labels, matrix.counts) == (("a", "old"), ((0, 1), (0, 0)))


def test_figures_of_labels_agree_with_the_scoring() -> None:
    rng, labels = random.Random(3), ("a", "b", "c")
    said, true = rng.choices(labels, k=200), rng.choices(labels, k=200)
    matrix = confusion(labels, [item(choice(s)) for s in said], [choice(t) for t in true])
    found = of_labels(matrix)
    mean = sum(one.f1 or 0.0 for one in found) / 3
    assert mean == pytest.approx(macro_f1(said, true, labels))
    assert [one.support for one in found] == [true.count(label) for label in labels]


def test_a_share_without_a_base_is_not_zero() -> None:
    matrix = confusion(("a", "b"), [item(choice("a"))], [choice("a")])
    assert of_labels(matrix)[1] == LabelFigures(
        label="b", support=0, answered=0, precision=None, recall=None, f1=None
    )


def test_a_span_counts_only_with_its_borders_and_its_label() -> None:
    def spans(*found: tuple[int, int, str]) -> dict[str, Any]:
        return {
            "spans": [{"start": s, "end": e, "label": name, "text": ""} for s, e, name in found]
        }

    targets = [spans((0, 4, "PER"), (9, 12, "ORG")), spans((2, 5, "PER"))]
    items = [item(spans((0, 4, "PER"), (9, 12, "PER"))), item(None)]
    person, organisation = of_spans(("PER", "ORG"), items, targets)
    assert (person.support, person.answered, person.precision, person.recall) == (2, 2, 0.5, 0.5)
    assert (organisation.precision, organisation.recall, organisation.f1) == (None, 0.0, 0.0)


def test_reliability_has_bins_of_equal_mass_with_what_came_true() -> None:
    items = [item(choice("x"), sure=0.9, score=float(n < 9)) for n in range(10)]
    items += [item(choice("x"), sure=0.6, score=float(n < 3)) for n in range(10)]
    unsure, sure = trust_in_choices([*items, item(None)], bins=2)
    assert (unsure.said, unsure.true, unsure.n) == (pytest.approx(0.6), 0.3, 10)
    assert (sure.said, sure.true, sure.n) == (pytest.approx(0.9), 0.9, 10)
    assert sure.low < 0.9 < sure.high


def test_reliability_of_values_compares_means() -> None:
    items = [item({"value": v}) for v in (0.1, 0.2, 0.8, 0.9)]
    targets = [{"value": v} for v in (0.0, 0.2, 0.7, 0.7)]
    low, high = trust_in_values(items, targets, bins=2)
    assert (low.said, low.true) == (pytest.approx(0.15), pytest.approx(0.1))
    assert (high.low, high.true, high.high) == tuple(pytest.approx(0.7) for _ in range(3))


def test_nothing_to_trust_gives_no_points() -> None:
    assert trust_in_choices([item(choice("a"))]) == ()
    assert trust_in_values([item(None)], [{"value": 1.0}]) == ()


def test_the_worst_errors_are_the_wrongest_then_the_surest() -> None:
    items = [
        item(choice("a"), score=1.0, sure=0.99, position=0),
        item(choice("a"), score=0.0, sure=0.6, position=1),
        item(choice("a"), score=0.0, sure=0.9, position=2),
        item({"value": 0.5}, score=0.4, position=3),
        item(None, score=0.0, position=4),
    ]
    assert [one.position for one in worst(items)] == [2, 1, 4, 3]


def test_a_report_holds_what_its_kind_has() -> None:
    chosen = report("choice", ("a",), [item(choice("a"), score=1.0, sure=0.7)], [choice("a")])
    assert chosen.confusion is not None
    assert (len(chosen.labels), len(chosen.reliability)) == (1, 1)
    scored = report("score", (), [item({"value": 0.5}, score=0.9)], [{"value": 0.6}])
    assert (scored.confusion, scored.labels, len(scored.reliability)) == (None, (), 1)
    spoken = report("text", (), [item({"text": "x"})], [{"text": "y"}])
    assert (spoken.confusion, spoken.labels, spoken.reliability) == (None, (), ())


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (5, 10), (0, 0), (1, 1)])
def test_wilsons_interval_holds_the_share_and_stays_in_bounds(hits: int, n: int) -> None:
    low, high = wilson(hits, n)
    share, nearly = hits / n if n else 0.5, 1e-12
    assert 0.0 <= low <= share + nearly
    assert share - nearly <= high <= 1.0
