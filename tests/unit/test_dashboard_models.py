"""What pages of tasks, data sets, training, versions and evaluations show, without a server."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from inhouse.core.errors import Invalid
from inhouse.core.ids import RunId, new_id
from inhouse.core.states import RunStatus, VersionStatus
from inhouse.dashboard import datasets_view, evaluations_view, tasks_view, training_view
from inhouse.dashboard import versions_view as versions
from inhouse.dashboard.evaluations_charts import curve_charts, trust_chart, value_chart
from inhouse.dashboard.recipe_forms import recipe_forms
from inhouse.datasets.snapshot import SnapshotRecord
from inhouse.evaluation.records import EvaluationRecord
from inhouse.evaluation.report import Confusion, Point
from inhouse.registry.routes import Route, implicit
from inhouse.registry.versions import Version
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.training.recipes import RECIPES
from inhouse.training.runs import Event, Run
from inhouse.training.trainers.base import curve_point

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def span(start: int, end: int, label: str) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label, "text": ""}


def route(revision: int, weight_bp: int, **changes: Any) -> Route:
    fields: dict[str, Any] = {
        "task": "mood",
        "revision": revision,
        "incumbent": "local/big",
        "candidate": "mood@2",
        "weight_bp": weight_bp,
        "salt": "s",
        "chain": ("local/big",),
        "pin": None,
        "actor": "ada",
        "reason": f"step {revision}",
        "created_at": NOW + timedelta(hours=revision),
    }
    return Route(**fields | changes)


# -- tasks


def test_a_text_is_cut_at_its_spans_and_nothing_is_lost() -> None:
    text = "Ada of Acme met Ada."
    spans = [span(16, 19, "person"), span(0, 3, "person"), span(7, 11, "firm"), span(0, 11, "x")]
    found = tasks_view.pieces(text, spans, ("person", "firm"))
    assert "".join(piece.text for piece in found) == text
    marked = [(piece.text, piece.label, piece.tone) for piece in found if piece.label]
    assert marked == [("Ada of Acme", "x", 3), ("Ada", "person", 1)]


def test_spans_side_by_side_are_all_marked() -> None:
    found = tasks_view.pieces("ab", [span(0, 1, "p"), span(1, 2, "q"), span(1, 9, "q")], ("p", "q"))
    assert [(piece.text, piece.label) for piece in found] == [("a", "p"), ("b", "q")]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (None, "–"),
        ({"label": "good"}, "good"),
        ({"value": -0.5}, "−0.50"),
        ({"text": "hello"}, "hello"),
        ({"spans": []}, "no spans"),
        ({"spans": [{**span(0, 1, "p"), "text": "Ada"}]}, "Ada (p)"),
        ({"label": "x", "more": 1}, '{"label": "x", "more": 1}'),
    ],
)
def test_outputs_in_a_few_words(output: Mapping[str, Any] | None, words: str) -> None:
    assert tasks_view.brief(output) == words


def test_a_call_as_curl_survives_a_shell() -> None:
    text = 'It\'s "odd" $HOME `id` \\ ünï\n!'
    request = tasks_view.request_of(text, unit="u 1")
    command = tasks_view.as_curl("http://127.0.0.1:8040", "mood", request, with_key=False)
    words = shlex.split(command)
    assert words[:2] == ["curl", "http://127.0.0.1:8040/v1/tasks/mood/run"]
    assert json.loads(words[-1]) == {"input": text, "unit": "u 1"}
    with_key = tasks_view.as_curl("http://h", "mood", request, with_key=True)
    assert '-H "authorization: Bearer $INHOUSE_KEY"' in with_key


def test_a_call_in_python_is_python() -> None:
    request = tasks_view.request_of("it's\n", model="mood@2")
    for with_key in (False, True):
        code = tasks_view.as_python("http://h", "mood", request, with_key=with_key)
        compile(code, "call", "exec")
        assert "client.run('mood', \"it's\\n\", model='mood@2')" in code


def test_who_answers_in_a_sentence() -> None:
    assert tasks_view.sentence(implicit("mood", ())).startswith("Nobody answers")
    assert tasks_view.sentence(implicit("mood", ("a/b", "c/d"))) == "a/b answers every call."
    assert tasks_view.sentence(route(1, 2500)) == (
        "mood@2 answers 25 % of the units, local/big the rest."
    )
    assert tasks_view.sentence(route(1, 10_000)) == "mood@2 answers every call."
    assert tasks_view.sentence(route(1, 2500, pin="c/d")) == "Every call is pinned to c/d."
    assert [(s.who, s.percent) for s in tasks_view.shares(route(1, 2500))] == [
        ("own", 25.0),
        ("general", 75.0),
    ]


# -- training


def run_of(status: RunStatus, **changes: Any) -> Run:
    fields: dict[str, Any] = {
        "id": RunId(new_id()),
        "task": "mood",
        "task_revision": "r",
        "recipe": "encoder-head.v1",
        "settings": {},
        "snapshot_id": new_id(),
        "snapshot_hash": "0" * 64,
        "status": status,
        "job_id": new_id(),
        "error": None,
        "metrics": None,
        "version_id": None,
        "actor": "ada",
        "created_at": NOW,
        "started_at": NOW,
        "finished_at": None,
    }
    return Run(**fields | changes)


def events_of(*said: tuple[int, str, Mapping[str, Any]]) -> list[Event]:
    return [
        Event(sequence=place, at=NOW + timedelta(seconds=seconds), kind=kind, data=data)
        for place, (seconds, kind, data) in enumerate(said, 1)
    ]


def progress(done: float, note: str = "", **point: Any) -> dict[str, Any]:
    return {"done": done, "total": 100.0, "note": note, **({"point": point} if point else {})}


def at_epoch(epoch: float, loss: float, score: float | None, part: str = "final") -> dict[str, Any]:
    return curve_point(
        part=part, epoch=epoch, step=1, train_loss=loss, valid_score=score, seconds_left=40
    )


def test_the_time_left_follows_the_pace() -> None:
    said = events_of(
        (0, "status", {"status": "running"}), (20, "progress", progress(25, "epoch 1"))
    )
    found = training_view.pace(run_of(RunStatus.RUNNING), said, NOW + timedelta(seconds=30))
    assert (found.gone_s, found.left_s) == (30.0, 50.0)
    assert (found.words, found.times) == ("25 %, epoch 1", "30 s gone, about 50 s left")


def test_a_run_that_was_taken_up_again_counts_its_present_attempt() -> None:
    said = events_of(
        (0, "status", {"status": "running"}),
        (5, "progress", progress(80, **at_epoch(1, 0.2, None))),
        (6, "status", {"status": "queued"}),
        (7, "status", {"status": "running"}),
    )
    found = training_view.pace(run_of(RunStatus.RUNNING), said, NOW + timedelta(seconds=8))
    assert (found.done, found.left_s, found.words) == (0.0, None, "starting")
    assert training_view.curves(said).losses == {}


def test_a_run_without_a_start_tells_no_time() -> None:
    waiting = training_view.pace(run_of(RunStatus.QUEUED, started_at=None), [], NOW)
    assert (waiting.words, waiting.times) == ("waiting for a worker", "Not started yet.")
    dead = training_view.pace(run_of(RunStatus.CANCELLED, started_at=None), [], NOW)
    assert dead.times == "It never started."


def test_curves_come_of_what_progress_says() -> None:
    said = events_of(
        (0, "status", {"status": "running"}),
        (1, "progress", progress(10, "encoding")),
        (2, "progress", progress(20, **at_epoch(1, 0.9, 0.5, "fold 1 of 2"))),
        (3, "progress", progress(30, **at_epoch(2, 0.6, 0.7, "fold 1 of 2"))),
        (4, "progress", progress(40, **at_epoch(1, 0.8, None))),
    )
    curves = training_view.curves(said)
    assert curves.losses == {"fold 1 of 2": [(1.0, 0.9), (2.0, 0.6)], "final": [(1.0, 0.8)]}
    assert curves.scores == {"fold 1 of 2": [(1.0, 0.5), (2.0, 0.7)]}
    loss, score = curve_charts(curves, "/v1/x")
    assert loss.frame.finding == "Training loss: 0.800 after epoch 1 of final"
    assert [line.look for line in loss.lines] == ["general", "own"]
    assert score.frame.rows[-1] == ("2", "0.700")
    assert curve_charts(training_view.curves(said[:2]), "") == []


def test_what_the_training_says_of_the_time_left_counts() -> None:
    said = events_of(
        (0, "status", {"status": "running"}),
        (10, "progress", progress(50, **at_epoch(1, 0.5, None))),
    )
    found = training_view.pace(run_of(RunStatus.RUNNING), said, NOW + timedelta(seconds=15))
    assert found.left_s == 35.0


def test_the_log_says_a_note_once_and_measures_beside_it() -> None:
    said = events_of(
        (0, "status", {"status": "queued"}),
        (61, "progress", progress(1, "encoding")),
        (62, "progress", progress(2, "encoding")),
        (63, "progress", progress(9, "epoch 1", **at_epoch(1, 0.51234, None))),
        (70, "status", {"status": "failed", "error": "no memory"}),
    )
    found = [(line.after, line.text, line.level) for line in training_view.log(said)]
    assert found == [
        ("0:00", "queued", "note"),
        ("1:01", "encoding", ""),
        ("1:03", "epoch 1, train loss 0.5123", ""),
        ("1:10", "failed: no memory", "bad"),
    ]


def test_settings_of_a_recipe_from_its_form() -> None:
    recipe = RECIPES["encoder-head.v1"]
    schema = recipe.settings.model_json_schema()
    sent = {
        "set.encoder-head.v1.seed": " 7 ",
        "set.encoder-head.v1.penalties": "0.1, 2",
        "set.encoder-head.v1.folds": "",
        "set.encoder.v1.seed": "9",
    }
    found = training_view.settings_from(recipe.name, schema, sent)
    assert found == {"seed": 7, "penalties": [0.1, 2.0]}
    with pytest.raises(Invalid, match="no number"):
        training_view.settings_from(recipe.name, schema, {"set.encoder-head.v1.seed": "x"})


def test_forms_offer_the_recipes_of_the_kind_with_their_defaults() -> None:
    spec = TaskSpec(name="x", kind=TaskKind.TEXT, description="", prompt="{{ input }}")
    assert recipe_forms(spec) == []
    first = recipe_forms()[0]
    assert dict(first.settings)["penalties"].startswith("0.03, 0.1")


# -- evaluations


def test_a_matrix_has_shares_of_its_rows() -> None:
    found = Confusion(labels=("a", "b"), counts=((3, 0), (1, 0)), failures=(1, 0))
    first, second = evaluations_view.matrix(found)
    assert [(c.count, c.share, c.heat) for c in first.cells] == [(3, 75.0, "h4"), (0, 0.0, "h0")]
    assert (first.total, second.cells[0].heat) == (4, "h4")


def test_what_a_reliability_plot_shows() -> None:
    good = Point(said=0.8, true=0.82, low=0.7, high=0.9, n=50)
    off = Point(said=0.95, true=0.6, low=0.5, high=0.7, n=50)
    assert evaluations_view.trust_sentence([good]).startswith("What was said matches")
    assert "too sure by 35 points" in evaluations_view.trust_sentence([good, off])
    chart = trust_chart([good, off], "/v1/x")
    assert chart is not None
    assert len(chart.points) == 2
    assert trust_chart([], "") is None
    values = value_chart([good, off], "/v1/x")
    assert values is not None
    assert value_chart([], "") is None


def evaluation(**changes: Any) -> EvaluationRecord:
    interval = {"estimate": 0.8, "low": 0.73, "high": 0.9}
    result = {
        "reference": "mood@1",
        "role": "candidate",
        "about": "own encoder",
        "n": 40,
        "failures": 0,
        "figures": {"score": interval, "macro_f1": interval},
        "latency": None,
    }
    general = {"reference": "local/big", "role": "general", "about": "general language model"}
    gap = {"estimate": 0.1, "low": -0.01, "high": 0.2}
    against = {"role": "general", "difference": gap, "mcnemar_p": None, "ece_difference": None}
    fields: dict[str, Any] = {
        "id": new_id(),
        "task": "mood",
        "task_revision": "r",
        "candidate": "mood@1",
        "version_id": None,
        "snapshot_id": new_id(),
        "split": "test",
        "status": "done",
        "verdict": "pass",
        "reasons": ["fine"],
        "results": [result, {**result, **general}],
        "comparisons": [
            {"other": "local/big", **against},
            {"other": "majority", **against, "role": "floor"},
        ],
        "settings": {"gate": {"margin": 0.02}, "seed": 1},
        "error": None,
        "created_at": NOW,
        "finished_at": NOW,
    }
    return EvaluationRecord(**fields | changes)


def test_figures_of_an_evaluation() -> None:
    record = evaluation()
    found = evaluations_view.standings(record)
    assert [one.who for one in found] == ["own", "general"]
    assert [one.note for one in found] == ["candidate, own encoder", "general language model"]
    assert evaluations_view.main_figure(found) == "macro_f1"
    assert evaluations_view.bounds(found, "macro_f1") == (0.7, 0.9)
    assert [one.words for one in evaluations_view.comparisons(record)] == [
        "not worse by more than 0.02",
        "not certain",
    ]
    assert evaluations_view.sentence(record).endswith("40 examples.")


def test_an_evaluation_without_figures_says_why() -> None:
    empty = {"results": None, "comparisons": None, "verdict": None, "reasons": None}
    broken = evaluation(status="failed", error="no test split", **empty)
    assert "no test split" in evaluations_view.sentence(broken)
    assert evaluations_view.main_figure(evaluations_view.standings(broken)) == "score"


# -- data sets


def snapshot(**changes: Any) -> SnapshotRecord:
    fields: dict[str, Any] = {
        "id": new_id(),
        "task": "mood",
        "task_revision": "r",
        "content_hash": "0" * 64,
        "settings": {"valid": 0.1, "newest": False, "since": None},
        "counts": {
            "train": 6,
            "valid": 2,
            "test": 2,
            "labels": {"train": {"a": 4, "b": 2}, "valid": {"a": 2}, "test": {"b": 2}},
        },
        "dropped": {"duplicate": 3, "unheard-of": 1, "empty-input": 0},
        "created_at": NOW,
    }
    return SnapshotRecord(**fields | changes)


def test_counts_of_a_snapshot() -> None:
    rows = datasets_view.label_rows(snapshot())
    assert [(row.label, row.counts, row.total, row.share) for row in rows] == [
        ("a", [4, 2, 0], 6, 0.6),
        ("b", [2, 0, 2], 4, 0.4),
    ]
    assert datasets_view.sentence(snapshot()) == (
        "10 examples of mood: 6 to learn from, 2 to choose by and 2 to score on. 4 were left out."
    )
    dropped = datasets_view.dropped_rows(snapshot())
    assert [(code, count) for code, _, count in dropped] == [("duplicate", 3), ("unheard-of", 1)]
    assert datasets_view.settings_rows(snapshot()) == [("Share for choosing", "0.1")]


def test_values_of_a_score_may_be_missing_in_a_split() -> None:
    values = {"train": {"mean": 0.1, "min": -1.0, "max": 1.0}, "valid": None, "test": None}
    record = snapshot(counts={"train": 1, "valid": 0, "test": 0, "values": values})
    assert [row.mean for row in datasets_view.value_rows(record)] == [0.1, None, None]
    assert datasets_view.label_rows(record) == []


# -- versions


def version(status: VersionStatus = VersionStatus.ACTIVE, **changes: Any) -> Version:
    fields: dict[str, Any] = {
        "id": new_id(),
        "task": "mood",
        "number": 2,
        "task_revision": "r",
        "status": status,
        "artifact": "mood",
        "store_version": "1",
        "manifest_digest": "sha256:0",
        "recipe": "encoder.v1",
        "run_id": None,
        "snapshot_id": None,
        "rejected": None,
        "created_at": NOW,
    }
    return Version(**fields | changes)


def test_the_story_of_a_version_is_told_by_its_share() -> None:
    history = [route(1, 1000), route(2, 1000, reason="chain"), route(3, 10_000), route(4, 0)]
    rejected = {"by": "gate", "why": "worse", "at": NOW.isoformat()}
    found = versions.story(version(VersionStatus.REJECTED, rejected=rejected), history)
    assert [(one.word, one.by, one.why) for one in found][1:] == [
        ("0 % → 10 %", "ada", "step 1"),
        ("10 % → 100 %", "ada", "step 3"),
        ("100 % → 0 %", "ada", "step 4"),
        ("Rejected", "gate", "worse"),
    ]


def test_since_when_a_version_serves() -> None:
    serving = [route(3, 10_000), route(2, 1000), route(1, 0)]
    assert versions.serving_since(version(), serving) == serving[1].created_at
    assert versions.serving_since(version(), [route(4, 0), *serving]) is None
    assert versions.sentence(version(), serving[0], NOW).startswith("Answers 100 % of mood’s units")
    idle = versions.sentence(version(VersionStatus.REJECTED), route(4, 0), None)
    assert idle == "Answers no calls: it was rejected."


def test_what_keeps_a_version_from_the_archive() -> None:
    assert (
        versions.why_not_archived(version(), ["mood (candidate)"]) == "It serves: mood (candidate)"
    )
    assert versions.why_not_archived(version(VersionStatus.ARCHIVED), []) != ""
    assert versions.why_not_archived(version(), []) == ""


def test_facts_of_a_manifest_are_flat() -> None:
    metadata = {"labels": ["a", "b"], "max_length": 128, "deep": {"x": 1}}
    assert versions.facts(metadata) == [("Labels", "a, b"), ("Max length", "128")]
