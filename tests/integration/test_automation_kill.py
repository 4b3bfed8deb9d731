"""kill -9 between any two statements of automation: one training run, one rollout, never two.

Every victim is forked from a process that has imported everything and has one thread, and ends
itself before its n-th statement or commit; n counts up until a victim comes to its end.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from inhouse.automation import records
from inhouse.automation.carry import JOB
from inhouse.automation.steps import ProposalState, What
from inhouse.core.clock import SystemClock
from inhouse.core.ids import new_id
from inhouse.datasets.ingest import import_file
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.evaluation import records as evaluations
from inhouse.evaluation.tables import Evaluation
from inhouse.jobs import queue
from inhouse.registry import routes
from inhouse.rollout import records as rollouts
from inhouse.settings import RolloutSettings, Settings, TaskSettings, TrainingSettings
from inhouse.tasks.catalog import load_catalog
from inhouse.testing.versions import add_version
from inhouse.training import runs

CLOCK = SystemClock()
TASK = TaskSettings(
    kind="choice",
    labels=("bad", "good"),
    prompt="{{ input }}",
    chain=("embedded/general",),
    rollout=RolloutSettings(automation="on"),
    training=TrainingSettings(retrain_after=10),
)
SETTINGS = Settings(tasks={"mood": TASK})
SPEC = load_catalog(SETTINGS).get("mood")
TEMPLATE = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from inhouse.automation.carry import Proposals
from inhouse.automation.conductor import Conductor
from inhouse.automation.train import Trigger
from inhouse.core.clock import SystemClock
from inhouse.db.unit import Database
from inhouse.jobs import queue
from inhouse.jobs.handler import JobContext
from inhouse.settings import Settings
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import load_catalog
from inhouse.training.execute import Training

SETTINGS = Settings.model_validate_json(sys.argv[1])

def act(url, job_id, folder, last):
    database, clock, left = Database(url), SystemClock(), [last]
    catalog = load_catalog(SETTINGS)
    proposals = Proposals(catalog=catalog, clock=clock, settings=lambda: SETTINGS)
    store = ModelStore(Path(folder, "store"), clock)
    training = Training(database=database, store=store, catalog=catalog, clock=clock,
                        runs_dir=Path(folder, "runs"))
    trigger = Trigger(database=database, training=training, proposals=proposals)
    with database.read() as unit:
        job = None if job_id == "-" else queue.get(unit, job_id)
    def count(*_):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    event.listen(database.engine, "before_cursor_execute", count)
    event.listen(database.engine, "commit", count)
    if job is None:
        Conductor(database, proposals).tick()
    else:
        trigger(JobContext(database, clock, job), dict(job.arguments))
    os._exit(0)

for line in sys.stdin:
    url, job_id, folder, last = line.split()
    child = os.fork()
    if child == 0:
        act(url, job_id, folder, int(last))
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Victims:
    """Processes that act until they kill themselves: 0 when they came to their end, -9 else."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TEMPLATE, SETTINGS.model_dump_json(by_alias=True)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def act(self, url: str, job_id: str, folder: Path, last: int) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{url} {job_id} {folder} {last}\n")
        self.process.stdin.flush()
        lines = iter(self.process.stdout.readline, "")
        told = (line.strip() for line in lines)
        return int(next(line for line in told if line.lstrip("-").isdigit()))


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    made = Victims()
    yield made
    made.process.communicate()


def fill(database: Database, folder: Path) -> None:
    """Ten examples to learn from, and a version that is better than what answers."""
    rows = "".join(f"text {number},{('bad', 'good')[number % 2]}\n" for number in range(10))
    (folder / "rows.csv").write_text("text,label\n" + rows, encoding="utf-8")
    assert import_file(database, SPEC, folder / "rows.csv", clock=CLOCK).added == 10
    with database.write() as unit:
        version = add_version(unit, SPEC, CLOCK.now())
        begun = evaluations.begin(
            unit,
            task="mood",
            task_revision=SPEC.revision,
            candidate=version.reference,
            version_id=version.id,
            snapshot_id=new_id(),
            settings={"gate": {"margin": 0.02}},
            at=CLOCK.now(),
        )
        figures = {"score": {"estimate": 0.8, "low": 0.7, "high": 0.9}}
        values = {
            "status": "done",
            "verdict": "pass",
            "results": [
                {"reference": one, "figures": figures, "latency": None}
                for one in (version.reference, "embedded/general")
            ],
            "comparisons": [
                {
                    "other": "embedded/general",
                    "difference": {"estimate": 0.1, "low": 0.05, "high": 0.15},
                }
            ],
        }
        table = table_of(Evaluation)
        unit.execute(update(table).where(table.c.id == begun.id).values(**values))


def check(database: Database) -> tuple[bool, bool, bool]:
    """What is stored fits together. Whether a rollout, the job and the run are there by now."""
    with database.read() as unit:
        proposed = {one.what: one for one in records.list_proposals(unit)}
        assert len(proposed) == len(records.list_proposals(unit))
        begun = rollouts.list_rollouts(unit)
        jobs = queue.list_jobs(unit, name=JOB)
        made = runs.list_runs(unit)
        route = routes.current(unit, "mood")
        training_jobs = queue.list_jobs(unit, name="training.run")
    assert len(begun) == (route is not None)
    assert max(len(begun), len(jobs), len(made)) <= 1
    assert len(training_jobs) == len(made)
    rolled, trained = proposed.get(What.ROLL_OUT), proposed.get(What.TRAIN)
    assert bool(begun) is (rolled is not None and rolled.state is ProposalState.DONE)
    if begun:
        assert rolled is not None
        assert rolled.result == {"rollout_id": begun[0].id}
        assert (begun[0].candidate, begun[0].actor) == ("mood@1", "automation")
    begins = (ProposalState.ACCEPTED, ProposalState.DONE)
    assert bool(jobs) is (trained is not None and trained.state in begins)
    assert bool(made) is (trained is not None and trained.state is ProposalState.DONE)
    return bool(begun), bool(jobs), bool(made)


def kill_through(
    victims: Victims, database: Database, url: str, folder: Path, job_id: str, stride: int
) -> None:
    last, died = 1, 0
    while (code := victims.act(url, job_id, folder, last)) != 0:
        assert code == -9
        check(database)
        died += 1
        last += stride
    assert died > 1


def act_through(victims: Victims, database: Database, folder: Path, *, tick: int, job: int) -> None:
    """Kill at every ``tick``-th point of a look, and at every ``job``-th of the job."""
    url = database.engine.url.render_as_string(hide_password=False)
    fill(database, folder)
    kill_through(victims, database, url, folder, "-", tick)
    assert check(database) == (True, True, False)
    with database.read() as unit:
        [queued] = queue.list_jobs(unit, name=JOB)
    kill_through(victims, database, url, folder, queued.id, job)
    assert check(database) == (True, True, True)
    assert victims.act(url, "-", folder, 10**6) == 0
    assert victims.act(url, queued.id, folder, 10**6) == 0
    assert check(database) == (True, True, True)


def test_automation_that_dies_begins_nothing_twice(
    victims: Victims, sqlite_database: Database, tmp_path: Path
) -> None:
    act_through(victims, sqlite_database, tmp_path, tick=23, job=9)


@pytest.mark.full
def test_automation_that_dies_at_any_point(
    victims: Victims, database: Database, tmp_path: Path
) -> None:
    act_through(victims, database, tmp_path, tick=1 if database.is_sqlite else 3, job=1)
