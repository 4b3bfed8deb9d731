"""The proof, played again in part, more of it with ``make test-full``; and what wrote it."""

from __future__ import annotations

import ast
import json
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from inhouse.cli.main import app
from inhouse.core.errors import Conflict, Invalid, NotFound
from inhouse.rollout import truths
from inhouse.rollout.bars import BarResult, Run, Verdict, at_least, measure, upper_limit
from inhouse.rollout.direct import Direct
from inhouse.rollout.kept import Kept
from inhouse.rollout.report import fingerprints_of
from inhouse.rollout.rivals import Peeked, PointEstimate, ThresholdGate
from inhouse.rollout.scenarios import SCENARIOS, Scenario
from inhouse.rollout.simulate import LIMIT, OURS, Piece, batch, play, seed_of, simulate
from inhouse.testing.rollouts import SHORTER

MASTER = 5
PROOF = Path(__file__).parents[2] / "benchmarks" / "results" / "rollouts.json"


def _named(name: str) -> Scenario:
    return next(one for one in SCENARIOS if one.name == name)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_no_bar_is_refuted(scenario: Scenario) -> None:
    runs = []
    for number in range(100):
        seed = seed_of(scenario.name, MASTER, number)
        rule = Direct(scenario, seed)
        runs.append(play(scenario, rule, seed, limit=SHORTER.get(scenario.name, LIMIT)))
    results = [measure(bar, runs) for bar in scenario.bars]
    assert [one for one in results if one.refuted] == []
    if scenario.name not in SHORTER:
        assert [*fingerprints_of(runs)] == told(scenario)["fingerprints"][:1]


def told(scenario: Scenario) -> dict[str, Any]:
    """What the written proof says of our rule."""
    written = json.loads(PROOF.read_bytes())
    assert (written["master_seed"], written["batch"], written["finished"]) == (MASTER, 1, True)
    ours = [one for one in written["results"] if one["rule"] == OURS]
    [found] = [one for one in ours if one["scenario"] == scenario.name]
    return dict(found)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_the_written_proof_is_of_full_size_and_proves_every_bar(scenario: Scenario) -> None:
    found = told(scenario)
    assert found["runs"] == 4000 == 100 * len(found["fingerprints"])
    assert [one["words"] for one in found["bars"]] == [bar.words for bar in scenario.bars]
    assert [one for one in found["bars"] if not BarResult(**one).proven] == []


@pytest.mark.full
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_whoever_plays_runs_of_the_proof_again_has_the_same(scenario: Scenario) -> None:
    """Which hundred of its runs is drawn anew every time."""
    written = told(scenario)["fingerprints"]
    piece = Random().randrange(1, len(written))
    again = batch(scenario.name, OURS, MASTER, 100 * piece, 100)
    assert (piece, *fingerprints_of(again)) == (piece, written[piece])


def test_other_rules_are_wrong_more_often_on_the_same_streams() -> None:
    wrong = {}
    for rule in (OURS, Peeked.name, PointEstimate.name):
        runs = batch("equal.90", rule, MASTER, 0, 10)
        wrong[rule] = sum(run.verdict is Verdict.ROLLED_BACK for run in runs)
    assert wrong[OURS] < min(wrong[Peeked.name], wrong[PointEstimate.name])
    slow = batch("collapse", ThresholdGate.name, MASTER, 0, 10)
    quick = batch("collapse", OURS, MASTER, 0, 10)
    assert sum(run.requests for run in quick) < sum(run.requests for run in slow) / 4


def test_a_run_depends_on_its_seed_and_on_nothing_else() -> None:
    scenario = _named("eight-points")
    seed = "5/eight-points/0"
    first = play(scenario, Direct(scenario, seed), seed)
    alone = batch("eight-points", OURS, MASTER, 0, 2)
    assert alone[0] == first
    [piece] = simulate([scenario], runs=2, master=MASTER, processes=2, rules=[OURS])
    assert (piece.key, piece.first, piece.runs) == (("eight-points", OURS), 0, alone)


def test_truths_know_nothing_of_what_is_tested() -> None:
    tree = ast.parse(Path(truths.__file__).read_text(encoding="utf-8"))
    imported = [
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    ]
    assert imported
    assert [name for name in imported if name.startswith("inhouse")] == []


def test_truths_are_what_they_say() -> None:
    calls = list(islice(truths.sharing(0.06, 0.04, 0.09)(Random(1)), 20_000))
    assert sum(call.bad[0] for call in calls) / 20_000 == pytest.approx(0.10, abs=0.01)
    assert sum(call.bad[1] for call in calls) / 20_000 == pytest.approx(0.15, abs=0.01)
    slow = truths.measured(0.0, 0.0, labelled=0.1, wrong=0.2, slower=2.0)
    latencies = [call.latency_s for call in islice(slow(Random(2)), 4000) if call.latency_s]
    middle = [sorted(pair[arm] for pair in latencies)[2000] for arm in (0, 1)]
    assert middle[1] / middle[0] == pytest.approx(2.0, rel=0.1)
    rate = truths.hardening(0.05, 3.0, 1000)
    assert [rate(0), rate(1000), rate(9000)] == pytest.approx([0.05, 0.15, 0.15])


def test_limits_of_a_rate_are_exact() -> None:
    assert at_least(3, 10, 0.5) == pytest.approx(1 - 56 / 1024)
    assert at_least(1, 300, 0.0) == 0.0
    assert at_least(0, 300, 0.0) == 1.0
    assert upper_limit(0, 4000) == pytest.approx(1 - 0.01 ** (1 / 4000), rel=1e-6)
    assert upper_limit(156, 4000) == pytest.approx(0.0468, abs=0.0005)
    assert upper_limit(5, 5) == 1.0


def test_a_bar_is_refuted_by_runs_that_it_cannot_explain() -> None:
    (bar,) = _named("eight-points").bars
    good, bad = Run(Verdict.ROLLED_BACK, "harm", 9, 1), Run(Verdict.PROMOTED, "", 9, 1)
    assert measure(bar, [good] * 600).proven
    few = measure(bar, [good] * 99 + [bad])
    assert (few.refuted, few.proven) == (False, False)
    assert measure(bar, [good] * 90 + [bad] * 10).refuted


def test_the_command_tells_draws_and_writes(tmp_path: Path) -> None:
    plot, docs = tmp_path / "ends.svg", tmp_path / "page.md"
    docs.write_text(
        "before\n<!-- figures:rollouts -->\nstale figures\n<!-- /figures:rollouts -->\nafter\n"
    )
    words = ["rollout", "simulate", "--scenario", "collapse", "--runs", "4", "--json"]
    done = CliRunner().invoke(app, [*words, "--plot", str(plot), "--docs", str(docs)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["master_seed"], told["runs"]) == (5, 4)
    assert told["results"][0]["rule"] == OURS
    assert told["results"][0]["rolled_back"] == 4
    text = docs.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale figures" not in text
    assert "| 100.0 % |" in text
    drawn = ElementTree.parse(plot).getroot()
    assert len(drawn.findall(".//{*}rect[@height='19']")) == 4
    assert "`inhouse rollout simulate --runs 4 --seed 5 --plot" in text


def test_the_command_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    run = CliRunner().invoke
    unknown = run(app, ["rollout", "simulate", "--scenario", "none"])
    assert isinstance(unknown.exception, NotFound)
    assert "equal.90" in unknown.exception.hint
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    without = run(app, ["rollout", "simulate", "--docs", str(page)])
    assert isinstance(without.exception, Invalid)
    assert without.exception.code == "no-figures-block"


def test_what_is_kept_is_not_played_again(tmp_path: Path) -> None:
    keep = tmp_path / "runs.jsonl"
    words = ["rollout", "simulate", "--scenario", "shadow-worse", "--keep", str(keep), "--json"]
    invoke = CliRunner().invoke
    assert json.loads(invoke(app, [*words, "--runs", "12"]).stdout)["results"][0]["runs"] == 12
    before = keep.read_text()
    assert len(before.splitlines()) == 2
    more = json.loads(invoke(app, [*words, "--runs", "12"]).stdout)
    assert keep.read_text() == before
    assert more["results"][0]["runs"] == 12
    fewer = json.loads(invoke(app, [*words, "--runs", "11"]).stdout)
    assert fewer["results"][0]["runs"] == 11

    keep.write_text(before.replace('"rolled back", "harm", ', '"rolled back", "harm", 1'))
    changed = invoke(app, [*words, "--runs", "12"])
    assert isinstance(changed.exception, Conflict)
    assert "comes out differently" in str(changed.exception)
    keep.write_text("{}\n")
    assert isinstance(invoke(app, [*words, "--runs", "12"]).exception, Invalid)


def test_who_stops_it_keeps_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep, docs = tmp_path / "runs.jsonl", tmp_path / "page.md"
    docs.write_text("<!-- figures:rollouts -->\nold\n<!-- /figures:rollouts -->\n")
    add = Kept.add

    def stop(self: Kept, piece: Piece) -> None:
        add(self, piece)
        raise KeyboardInterrupt

    monkeypatch.setattr(Kept, "add", stop)
    words = ["rollout", "simulate", "--scenario", "shadow-worse", "--runs", "50"]
    done = CliRunner().invoke(app, [*words, "--keep", str(keep), "--docs", str(docs), "--json"])
    assert done.exit_code == 130, done.output
    told = json.loads(done.stdout)
    assert told["finished"] is False
    assert told["results"][0]["runs"] == 10
    assert len(keep.read_text().splitlines()) == 1
    assert "old" in docs.read_text()
