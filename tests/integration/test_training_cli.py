"""``inhouse train`` and ``inhouse jobs`` as a person meets them: real processes, real weights."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from inhouse.bootstrap import bootstrap
from inhouse.cli import evaluation as evaluation_cli
from inhouse.cli import jobs as jobs_cli
from inhouse.cli import train as train_cli
from inhouse.cli.context import set_folder
from inhouse.core.clock import SystemClock
from inhouse.core.errors import InhouseError
from inhouse.datasets import snapshot
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.ingest import import_file
from inhouse.settings import load_settings
from inhouse.testing.clock import FrozenClock
from inhouse.testing.upstream_behaviours import hang
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.training import runs

pytestmark = pytest.mark.models

WAIT_S = 180.0
INHOUSE = (sys.executable, "-m", "inhouse.cli.main")
WARM = ("sunny", "bright", "golden", "clear", "glowing", "shining")
COLD = ("rainy", "grey", "stormy", "foggy", "freezing", "gloomy")
PLACES = ("harbour", "market", "valley", "old town")


@pytest.fixture
def project(tmp_path: Path, weights_store: Path) -> Path:
    """A project folder with a task, its snapshot and the weights that the session shares."""
    (tmp_path / "inhouse.toml").write_text(
        f'[store]\npath = "{weights_store}"\n'
        '[tasks.train-cli-weather]\nkind = "choice"\nlabels = ["cold", "warm"]\n'
        'prompt = "Is it cold or warm? {{ input }}"\n'
    )
    app = bootstrap(load_settings(tmp_path, {}))
    spec = app.catalog.get("train-cli-weather")
    file = tmp_path / "labelled.jsonl"
    rows = [
        {"text": f"A {word} morning at the {place}.", "target": label}
        for label, words in (("warm", WARM), ("cold", COLD))
        for word in words
        for place in PLACES
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    import_file(app.database, spec, file, clock=app.clock)
    with app.database.write() as unit:
        snapshot.build(unit, spec, settings=BuildSettings(), at=app.clock.now())
    app.database.close()
    set_folder(tmp_path)
    return tmp_path


def run(group: Any, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(group.app, arguments)
    if isinstance(result.exception, InhouseError):
        raise result.exception
    return result.exit_code, result.output


def loaded(group: Any, *arguments: str) -> Any:
    code, output = run(group, *arguments, "--json")
    assert code == 0, output
    return json.loads(output)


def test_start_and_wait_trains_in_this_process(project: Path) -> None:
    code, output = run(
        train_cli, "start", "train-cli-weather", "--set", "folds=3", "--set", "seed=5", "--wait"
    )
    assert code == 0, output
    assert "succeeded" in output
    assert "encoding the examples" in output
    assert "cross-validated accuracy" in output
    [run_] = loaded(train_cli, "status")
    assert (run_["settings"]["folds"], run_["settings"]["seed"]) == (3, 5)
    one = loaded(train_cli, "status", run_["id"])
    assert one["events"][-1]["data"] == {"status": "succeeded"}
    waiting, done = loaded(jobs_cli, "list")
    assert (waiting["name"], waiting["status"]) == ("evaluation.run", "queued")
    assert (done["name"], done["status"]) == ("training.run", "done")
    assert done["result"]["version_id"] == one["version_id"]


def test_an_evaluation_that_is_killed_is_done_again(project: Path) -> None:
    """The one that waits since the training, asked for by hand; then by whoever comes next."""
    code, output = run(train_cli, "start", "train-cli-weather", "--set", "folds=3", "--wait")
    assert code == 0, output
    with ScriptedUpstream({"general": hang()}) as upstream:
        with (project / "inhouse.toml").open("a") as settings:
            settings.write('chain = ["server/general"]\n')
            settings.write(f'[upstreams.server]\nbase_url = "{upstream.base_url}"\n')
        started = subprocess.Popen(
            [*INHOUSE, "--dir", str(project), "evaluation", "run", "train-cli-weather@1"]
        )
        try:
            upstream.wait_until(lambda: bool(upstream.requests), WAIT_S)
        finally:
            started.kill()
            started.wait()
        upstream.script = {"general": "warm"}
        assert [one["status"] for one in loaded(evaluation_cli, "list")] == ["running"]
        [job, _] = loaded(jobs_cli, "list")
        assert (job["name"], job["status"]) == ("evaluation.run", "running")
        later = FrozenClock(SystemClock().now() + timedelta(hours=1))
        app = bootstrap(load_settings(project, {}), clock=later)
        ended = app.make_worker(1).run_next()
        app.database.close()
        assert ended is not None
        assert (ended.id, ended.status) == (job["id"], "done")
        assert [one["status"] for one in loaded(evaluation_cli, "list")] == ["done", "failed"]
        code, output = run(evaluation_cli, "run", "train-cli-weather@1")
    assert code == 0, output
    assert "verdict: " in output
    assert len(loaded(jobs_cli, "list", "--name", "evaluation.run")) == 2


def test_start_without_wait_queues_and_can_be_cancelled(project: Path) -> None:
    queued = loaded(train_cli, "start", "train-cli-weather")
    assert queued["status"] == "queued"
    job = loaded(jobs_cli, "show", queued["job_id"])
    assert (job["name"], job["status"]) == ("training.run", "queued")
    assert loaded(jobs_cli, "cancel", queued["job_id"])["status"] == "cancelled"
    assert loaded(train_cli, "status", queued["id"])["status"] == "cancelled"
    other = loaded(train_cli, "start", "train-cli-weather")
    assert loaded(train_cli, "cancel", other["id"])["status"] == "cancelled"
    assert [job["status"] for job in loaded(jobs_cli, "list", "--status", "cancelled")] == [
        "cancelled",
        "cancelled",
    ]
    assert run(train_cli, "status")[1].count("cancelled") == 2
    assert run(jobs_cli, "list", "--limit", "1")[1].count("training.run") == 1


def test_a_cancelled_run_is_not_brought_back(project: Path) -> None:
    queued = loaded(train_cli, "start", "train-cli-weather")
    run(train_cli, "cancel", queued["id"])
    with pytest.raises(InhouseError) as caught:
        run(jobs_cli, "retry", queued["job_id"])
    assert (caught.value.exit_code, caught.value.code) == (4, "run-state")


@pytest.mark.parametrize(
    ("group", "arguments", "code"),
    [
        (train_cli, ["start", "no-such-task"], 3),
        (train_cli, ["start", "train-cli-weather", "--recipe", "magic.v1"], 2),
        (train_cli, ["start", "train-cli-weather", "--set", "fold=3"], 2),
        (train_cli, ["start", "train-cli-weather", "--set", "folds"], 2),
        (train_cli, ["start", "train-cli-weather", "--snapshot", "ffffffff"], 3),
        (train_cli, ["status", "nope"], 3),
        (train_cli, ["cancel", "nope"], 3),
        (evaluation_cli, ["run", "train-cli-weather"], 2),
        (evaluation_cli, ["run", "train-cli-weather@7"], 3),
        (jobs_cli, ["show", "nope"], 3),
        (jobs_cli, ["list", "--status", "asleep"], 2),
    ],
)
def test_bad_input_leaves_nothing_behind(
    project: Path, group: Any, arguments: list[str], code: int
) -> None:
    with pytest.raises(InhouseError) as caught:
        run(group, *arguments)
    assert caught.value.exit_code == code
    assert caught.value.hint
    assert loaded(jobs_cli, "list") == []


def test_a_run_that_fails_exits_with_one_and_says_why(project: Path) -> None:
    code, output = run(
        train_cli, "start", "train-cli-weather", "--set", "max_seconds=0.1", "--wait"
    )
    assert code == 1
    assert "longer than 0.1 s" in output


def test_recipes_are_listed_with_their_defaults(project: Path) -> None:
    recipes = loaded(train_cli, "recipes")
    assert [recipe["name"] for recipe in recipes] == ["encoder-head.v1", "encoder.v1"]
    assert {recipe["settings"]["base"] for recipe in recipes} == {"minilm-l6"}
    assert "  folds = 5" in run(train_cli, "recipes")[1]


def _hears_ctrl_c() -> None:
    """What a shell starts in the background ignores it, with all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_cancels_the_run(project: Path) -> None:
    """One that would take minutes, so that it cannot end before it hears of it."""
    arguments = ["train", "start", "train-cli-weather", "--wait", "--recipe", "encoder.v1"]
    arguments += ["--set", "epochs=50", "--set", "threads=1"]
    started = subprocess.Popen(
        [*INHOUSE, "--dir", str(project), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_hears_ctrl_c,
    )
    guard = threading.Timer(WAIT_S, started.kill)
    guard.start()
    try:
        assert started.stdout is not None
        said = [next(line for line in started.stdout if "fold" in line)]
        started.send_signal(signal.SIGINT)
        said += started.stdout.readlines()
        code = started.wait()
    finally:
        guard.cancel()
        started.kill()
        started.wait()
    assert code == 1, said
    assert any("cancelling" in line for line in said)
    app = bootstrap(load_settings(project, {}), clock=SystemClock())
    with app.database.read() as unit:
        [ended] = runs.list_runs(unit)
    app.database.close()
    assert ended.status == "cancelled", said
