"""``encoder.v1`` as a run, whose processes die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.states import RunStatus
from inhouse.datasets import snapshot
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.ingest import import_file
from inhouse.db.unit import Database
from inhouse.inference.engines.encoder import EncoderModel
from inhouse.jobs.worker import Timing, Worker
from inhouse.registry import versions
from inhouse.store.manifest import Draft, VariantSpec
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog
from inhouse.testing.processes import processes_naming
from inhouse.testing.tiny_encoder import MOOD, SETTINGS, examples, make_tiny
from inhouse.training import handover, runs
from inhouse.training.execute import JOB, LOG, Training
from inhouse.training.runs import Run

CLOCK = SystemClock()
WAIT_S = 180.0
QUICK = Timing(lease_s=60.0, heartbeat_s=0.5, poll_s=0.05, backoff_s=0.0)
"""Looks often, and holds a lease that no busy machine lets run out."""

PHASES = (
    "reading the examples",
    "fold 1 of 1, epoch 2 of 3",
    "final, epoch",
    "exporting and measuring",
    "checking what was saved",
    "publishing",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny"), says=2)


@pytest.fixture
def training(sqlite_database: Database, base: Path, tmp_path: Path) -> Training:
    store = ModelStore(tmp_path / "store", CLOCK)
    with store.stage("tiny") as staging:
        for path in base.iterdir():
            (staging.path / path.name).write_bytes(path.read_bytes())
        files = VariantSpec(
            id="safetensors-fp32", format="safetensors", dtype="fp32", files=("model.safetensors",)
        )
        draft = Draft(kind="base", license="Apache-2.0", variants=(files,))
        made = store.publish(staging, draft)
    store.set_ref("tiny", "current", made.version, actor="test", reason="")
    return Training(
        database=sqlite_database,
        store=store,
        catalog=Catalog([MOOD]),
        clock=CLOCK,
        runs_dir=tmp_path / "runs",
    )


def request(training: Training, folder: Path) -> Run:
    file = folder / "rows.jsonl"
    rows = [{"text": row.input, "target": row.target["label"]} for row in examples(MOOD)]
    file.write_bytes(b"\n".join(msgspec.json.encode(row) for row in rows))
    import_file(training.database, MOOD, file, clock=CLOCK)
    with training.database.write() as unit:
        found = snapshot.build(unit, MOOD, settings=BuildSettings(), at=CLOCK.now())
        return training.request(
            unit, MOOD, found, recipe="encoder.v1", overrides=SETTINGS, actor="test"
        )


def worker(training: Training) -> Worker:
    return Worker(training.database, {JOB: training}, clock=CLOCK, name="heir", timing=QUICK)


def status(training: Training, run: Run) -> RunStatus:
    with training.database.read() as unit:
        return runs.get(unit, run.id).status


def progress(training: Training, run: Run) -> list[Mapping[str, Any]]:
    with training.database.read() as unit:
        return [e.data for e in runs.events(unit, run.id) if e.kind == runs.PROGRESS]


def until(condition: Callable[[], object]) -> None:
    deadline, pause = CLOCK.monotonic() + WAIT_S, threading.Event()
    while not condition():
        assert CLOCK.monotonic() < deadline, "waited in vain"
        pause.wait(0.01)


def reached(training: Training, run: Run, phase: str) -> bool:
    return any(phase in said["note"] for said in progress(training, run))


def assert_one_version(training: Training, run: Run) -> versions.Version:
    with training.database.read() as unit:
        done = runs.get(unit, run.id)
        assert (done.status, done.error) == (RunStatus.SUCCEEDED, None)
        [version] = versions.list_versions(unit, "mood")
    assert version.run_id == run.id
    found = training.store.resolve(version.artifact, version.store_version)
    assert found.manifest_digest == version.manifest_digest
    metrics: Any = found.manifest.metadata["metrics"]
    kept = bool(metrics["int8_kept"])
    assert [v.dtype for v in found.manifest.variants] == (["int8"] * kept + ["fp32"])
    assert min(metrics["fp32_p50_ms"], metrics["int8_p50_ms"]) > 0
    answers = EncoderModel("mood@1", model_dir=found.path).predict(["good gain", "bad loss"])
    assert all(answer.probabilities for answer in answers)
    assert [path.name for path in training.folder(run.id).iterdir()] == [LOG]
    return version


def test_a_killed_child_goes_on_where_it_was(training: Training, tmp_path: Path) -> None:
    run = request(training, tmp_path)
    background = worker(training)
    background.start()
    kept = training.folder(run.id) / handover.KEPT / "checkpoint.pt"
    until(lambda: reached(training, run, "fold 1 of 1, epoch 2"))
    until(lambda: kept.is_file() and processes_naming(run.id))
    [pid] = processes_naming(run.id)
    os.kill(pid, signal.SIGKILL)
    until(lambda: status(training, run) is RunStatus.SUCCEEDED)
    assert background.stop(timeout_s=WAIT_S)
    assert_one_version(training, run)
    said = progress(training, run)
    assert " examples takes about " in said[0]["note"]
    steps = [s["point"]["step"] for s in said if s.get("point", {}).get("part") == "fold 1 of 1"]
    assert steps.count(1) == 1, "the epoch that was done is not done again"
    scores = [s["point"]["valid_score"] for s in said if "point" in s]
    assert len([score for score in scores if score is not None]) >= 2


PROGRAM = """
import sys, threading
from pathlib import Path
import msgspec
from inhouse.core.clock import SystemClock
from inhouse.db.unit import Database
from inhouse.jobs.worker import Timing, Worker
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskSpec
from inhouse.training.execute import JOB, Training

url, folder, spec = sys.argv[1:]
clock = SystemClock()
training = Training(
    database=Database(url), store=ModelStore(Path(folder) / "store", clock),
    catalog=Catalog([msgspec.json.decode(spec, type=TaskSpec)]), clock=clock,
    runs_dir=Path(folder) / "runs",
)
worker = Worker(
    training.database, {JOB: training}, clock=clock, name="doomed",
    timing=Timing(lease_s=3.0, heartbeat_s=0.5, poll_s=0.05, backoff_s=0.0),
)
worker.start()
threading.Event().wait()
"""


def start_doomed(training: Training, folder: Path) -> subprocess.Popen[bytes]:
    script = folder / "doomed.py"
    script.write_text(PROGRAM)
    url = training.database.engine.url.render_as_string(hide_password=False)
    spec = msgspec.json.encode(MOOD).decode()
    return subprocess.Popen([sys.executable, str(script), url, str(folder), spec])


@pytest.mark.full
@pytest.mark.parametrize("victim", ["worker", "child"])
@pytest.mark.parametrize("phase", PHASES)
def test_killed_at_any_phase_it_makes_one_version(
    training: Training, tmp_path: Path, phase: str, victim: str
) -> None:
    run = request(training, tmp_path)
    doomed = start_doomed(training, tmp_path)
    try:
        until(lambda: reached(training, run, phase) or doomed.poll() is not None)
        if victim == "child":
            for pid in processes_naming(run.id):
                os.kill(pid, signal.SIGKILL)
            until(lambda: not processes_naming(run.id) or reached(training, run, "publishing"))
    finally:
        doomed.kill()
        doomed.wait()
    until(lambda: not processes_naming(run.id))
    heir = worker(training)
    heir.start()
    until(lambda: status(training, run) is RunStatus.SUCCEEDED)
    assert heir.stop(timeout_s=WAIT_S)
    assert_one_version(training, run)


@pytest.mark.full
def test_a_cancelled_run_leaves_no_checkpoint(training: Training, tmp_path: Path) -> None:
    run = request(training, tmp_path)
    background = worker(training)
    background.start()
    kept = training.folder(run.id) / handover.KEPT / "checkpoint.pt"
    until(kept.is_file)
    with training.database.write() as unit:
        training.cancel(unit, run.id)
    until(lambda: status(training, run) is RunStatus.CANCELLED)
    assert background.stop(timeout_s=WAIT_S)
    assert [path.name for path in training.folder(run.id).iterdir()] == [LOG]
    assert processes_naming(run.id) == []
