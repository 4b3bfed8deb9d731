"""Training runs with real weights, real child processes and both databases."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.errors import Conflict, Invalid
from inhouse.core.states import JobStatus, RunStatus, VersionStatus
from inhouse.datasets import snapshot
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.ingest import import_file
from inhouse.datasets.snapshot import SnapshotRecord
from inhouse.db.unit import Database
from inhouse.inference.engines.encoder import EncoderModel
from inhouse.jobs import queue
from inhouse.jobs.queue import JobRecord
from inhouse.jobs.worker import Timing, Worker
from inhouse.registry import versions
from inhouse.store.manifest import Draft, VariantSpec
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.processes import processes_naming
from inhouse.training import handover, process, runs
from inhouse.training.execute import EVALUATION_JOB, JOB, LOG, Training
from inhouse.training.process import Watch
from inhouse.training.runs import Run
from inhouse.training.trainers.base import Probe, TrainedArtifact

pytestmark = pytest.mark.models

CLOCK = SystemClock()
WAIT_S = 180.0
QUICK = Timing(lease_s=60.0, heartbeat_s=0.5, poll_s=0.05, backoff_s=0.0)
"""Looks often, and holds a lease that no busy machine lets run out."""

GOOD = """Quarterly profit rose by a third on strong demand.
The company raised its outlook for the full year.
Shares jumped to a record high after the results.
Sales beat every forecast of the analysts.
The bank doubled its dividend and thanked its customers.
Orders for the new aircraft keep growing.
The startup won its largest contract so far.
Margins improved for the fifth quarter in a row.
The retailer gained market share in all regions.
Exports climbed as the economy recovered.
The chip maker celebrated its best year ever.
Unemployment fell to its lowest level in decades.
The merger has delivered more savings than promised.
Investors cheered the successful listing.
The brewery returned to healthy growth.
Net income surged and debt was paid off early.
The airline reported full planes and rising revenue.
The drug passed its trial with excellent results.
Consumer confidence improved again in May.
The software firm is hiring after a superb quarter.""".splitlines()
BAD = """Quarterly profit fell by half on weak demand.
The company cut its outlook and warned of losses.
Shares plunged to a record low after the results.
Sales missed every forecast of the analysts.
The bank scrapped its dividend and closed branches.
Orders for the new aircraft have collapsed.
The startup lost its largest customer.
Margins shrank for the fifth quarter in a row.
The retailer lost market share in all regions.
Exports slumped as the economy sank into recession.
The chip maker suffered its worst year ever.
Unemployment climbed to its highest level in decades.
The merger has destroyed value and angered owners.
Investors fled after the failed listing.
The brewery slid deeper into the red.
Net income tumbled and the debt was downgraded.
The airline reported empty planes and falling revenue.
The drug failed its trial with terrible results.
Consumer confidence worsened again in May.
The software firm is firing staff after a dismal quarter.""".splitlines()
PLAIN = """The annual meeting takes place on Thursday.
The company has its head office in Oslo.
The report has 112 pages and three appendices.
The board consists of nine members.
The fund publishes its holdings every month.
The conference call begins at ten in the morning.
The bank was founded in 1872.
The contract covers the years 2021 to 2024.
The shares are listed in Helsinki and Stockholm.
The factory makes paper and cardboard.
The group has offices in twelve countries.
The chief executive will speak on Friday.
The prospectus is available on the website.
The firm employs about 400 people in Lyon.
The index is calculated once a day.
The auditors are elected for one year.
The store sells books, maps and stationery.
The fiscal year ends on 31 March.
The document is written in Swedish and English.
The office moved to another floor in June.""".splitlines()

SPEC = TaskSpec(
    name="mood",
    kind=TaskKind.CHOICE,
    description="The mood of a sentence.",
    labels=("negative", "neutral", "positive"),
    prompt="{{ input }}",
)
SCORED = TaskSpec(
    name="tone",
    kind=TaskKind.SCORE,
    description="The mood of a sentence as a number.",
    low=-1.0,
    high=1.0,
    prompt="{{ input }}",
)
LABELLED = [
    *((text, "positive", 0.8) for text in GOOD),
    *((text, "neutral", 0.0) for text in PLAIN),
    *((text, "negative", -0.8) for text in BAD),
]


@pytest.fixture(scope="module")
def base_files(weights_store: Path) -> Path:
    return ModelStore(weights_store, CLOCK).resolve("minilm-l6").path


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, base_files: Path) -> Path:
    """Root of a store that holds the base model by hard links."""
    root = tmp_path_factory.mktemp("filled") / "store"
    store = ModelStore(root, CLOCK)
    with store.stage("minilm-l6") as staging:
        for path in base_files.rglob("*"):
            target = staging.path / path.relative_to(base_files)
            if path.name.startswith("manifest.") or path.is_dir():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
        spec = VariantSpec(
            id="safetensors-fp32", format="safetensors", dtype="fp32", files=("model.safetensors",)
        )
        made = store.publish(staging, Draft(kind="base", license="Apache-2.0", variants=(spec,)))
    store.set_ref("minilm-l6", "current", made.version, actor="test", reason="")
    return root


@pytest.fixture
def store(tmp_path: Path, filled: Path) -> ModelStore:
    """A store of the test's own: a copy of the filled one, the weights by hard links."""

    def copy(source: str, target: str) -> None:
        if Path(source).stat().st_size > 1_000_000:
            Path(target).hardlink_to(source)
        else:
            shutil.copy2(source, target)

    shutil.copytree(filled, tmp_path / "store", copy_function=copy)
    return ModelStore(tmp_path / "store", CLOCK)


@pytest.fixture
def training(database: Database, store: ModelStore, tmp_path: Path) -> Training:
    return make_training(database, store, tmp_path)


@pytest.fixture
def local(sqlite_database: Database, store: ModelStore, tmp_path: Path) -> Training:
    """Training on SQLite only, for what does not turn on the dialect."""
    return make_training(sqlite_database, store, tmp_path)


def make_training(database: Database, store: ModelStore, folder: Path) -> Training:
    return Training(
        database=database,
        store=store,
        catalog=Catalog([SPEC, SCORED]),
        clock=CLOCK,
        runs_dir=folder / "runs",
    )


def build(training: Training, folder: Path, spec: TaskSpec = SPEC) -> SnapshotRecord:
    file = folder / "labelled.jsonl"
    field = 1 if spec.kind is TaskKind.CHOICE else 2
    rows = [{"text": row[0], "target": row[field]} for row in LABELLED]
    file.write_bytes(b"\n".join(msgspec.json.encode(row) for row in rows))
    report = import_file(training.database, spec, file, clock=CLOCK)
    assert report.added == len(rows)
    with training.database.write() as unit:
        return snapshot.build(unit, spec, settings=BuildSettings(), at=CLOCK.now())


def request(training: Training, folder: Path, spec: TaskSpec = SPEC, **overrides: Any) -> Run:
    found = build(training, folder, spec)
    with training.database.write() as unit:
        return training.request(unit, spec, found, overrides=overrides, actor="test")


def worker(training: Training, timing: Timing = QUICK) -> Worker:
    return Worker(training.database, {JOB: training}, clock=CLOCK, name="test", timing=timing)


def read_run(training: Training, run: Run) -> Run:
    with training.database.read() as unit:
        return runs.get(unit, run.id)


def read_events(training: Training, run: Run) -> list[runs.Event]:
    with training.database.read() as unit:
        return runs.events(unit, run.id)


def notes(training: Training, run: Run) -> list[str]:
    return [e.data["note"] for e in read_events(training, run) if e.kind == runs.PROGRESS]


def until(condition: Callable[[], object]) -> None:
    deadline, pause = CLOCK.monotonic() + WAIT_S, threading.Event()
    while not condition():
        assert CLOCK.monotonic() < deadline, "waited in vain"
        pause.wait(0.02)


def work_folder(training: Training, run: Run) -> Iterator[Path]:
    home = training.folder(run.id)
    return (path for path in home.glob("*/order.json")) if home.is_dir() else iter(())


def assert_one_version(training: Training, run: Run) -> versions.Version:
    """The run made exactly one version that verifies, and one job to evaluate it."""
    done = read_run(training, run)
    assert (done.status, done.error) == (RunStatus.SUCCEEDED, None)
    with training.database.read() as unit:
        [version] = versions.list_versions(unit, run.task)
        [evaluation] = queue.list_jobs(unit, name=EVALUATION_JOB)
    assert (version.id, version.run_id) == (done.version_id, run.id)
    assert version.status is VersionStatus.CANDIDATE
    assert evaluation.arguments == {"version_id": version.id, "snapshot_id": run.snapshot_id}
    resolved = training.store.resolve(version.artifact, version.store_version)
    assert resolved.manifest_digest == version.manifest_digest
    assert resolved.manifest.lineage.run_id == run.id
    assert [path.name for path in training.folder(run.id).iterdir()] == [LOG]
    return version


def test_a_run_makes_one_version_that_answers(training: Training, tmp_path: Path) -> None:
    run = request(training, tmp_path)
    left = worker(training).run_next()
    assert left is not None
    assert left.error is None
    assert left.status is JobStatus.DONE
    version = assert_one_version(training, run)
    assert (version.reference, version.artifact) == ("mood@1", "mood")
    done = read_run(training, run)
    assert done.metrics is not None
    assert done.metrics["macro_f1"] > 0.7
    assert 0 <= done.metrics["ece"] < 0.4
    assert left.result == {"run_id": run.id, "version_id": version.id}

    events = read_events(training, run)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [e.data["status"] for e in events if e.kind == runs.STATUS] == [
        "queued",
        "running",
        "succeeded",
    ]
    shares = [e.data["done"] / e.data["total"] for e in events if e.kind == runs.PROGRESS]
    assert shares == sorted(shares)
    assert left.progress is not None
    assert left.progress.note == "publishing"

    folder = training.store.resolve("mood", version.store_version).path
    model = EncoderModel("mood@1", model_dir=folder)
    sentences = ["Profit soared to a record.", "Losses widened and sales collapsed."]
    answers = [prediction.output["label"] for prediction in model.predict(sentences)]
    assert answers == ["positive", "negative"]

    with training.database.write() as unit:
        queue.enqueue(unit, JOB, {"run_id": run.id}, at=CLOCK.now())
    again = worker(training).run_next()
    assert again is not None
    assert (again.status, again.result) == (JobStatus.DONE, left.result)
    assert assert_one_version(training, run) == version


def test_the_same_snapshot_and_seed_give_the_same_files(local: Training, tmp_path: Path) -> None:
    found = build(local, tmp_path)
    digests = []
    for _ in range(2):
        with local.database.write() as unit:
            run = local.request(unit, SPEC, found, actor="test")
        assert worker(local).run_next(run.job_id) is not None
        with local.database.read() as unit:
            version = versions.list_versions(unit, "mood")[0]
        assert version.run_id == run.id
        manifest = local.store.resolve("mood", version.store_version).manifest
        digests.append({entry.path: entry.digest for entry in manifest.files})
    assert digests[0] == digests[1]
    assert_parity_decides(local, manifest.version, tmp_path)


def assert_parity_decides(training: Training, version: str, folder: Path) -> None:
    """The parity process accepts what the published model answers and refuses anything else."""
    model = training.store.resolve("mood", version).path
    predicted = EncoderModel("x", model_dir=model).predict(GOOD[:2])
    watch = Watch(on_line=print, cancelled=lambda: False, max_seconds=WAIT_S, clock=CLOCK)
    arguments = process.command("inhouse.training.parity", str(model), str(folder))
    same = [p.probabilities or {} for p in predicted]
    swapped = [dict(zip(p, reversed(p.values()), strict=True)) for p in same]
    for probabilities, refused in ((same, False), (swapped, True)):
        probes = tuple(
            Probe(text=text, output=p.output, probabilities=shares)
            for text, p, shares in zip(GOOD[:2], predicted, probabilities, strict=True)
        )
        artifact = TrainedArtifact(
            files=folder / "artifact", variants=(), metrics={}, metadata={}, probe=probes
        )
        handover.write_result(folder, artifact)
        if not refused:
            process.supervise(arguments, watch, log=folder / LOG, threads=1)
            continue
        with pytest.raises(Invalid, match="differs from the trained one"):
            process.supervise(arguments, watch, log=folder / LOG, threads=1)


def test_a_score_is_learned_within_its_range(local: Training, tmp_path: Path) -> None:
    run = request(local, tmp_path, SCORED, penalties=[0.1, 1.0])
    assert worker(local).run_next() is not None
    version = assert_one_version(local, run)
    done = read_run(local, run)
    assert done.metrics is not None
    assert done.metrics["pearson"] > 0.2
    assert 0 < done.metrics["mae"] < 0.8
    assert done.settings["penalties"] == [0.1, 1.0]
    model = EncoderModel(
        "tone@1", model_dir=local.store.resolve("tone", version.store_version).path
    )
    high, low = (p.output["value"] for p in model.predict(["A superb year.", "A terrible crash."]))
    assert -1.0 <= low < high <= 1.0


def test_the_test_split_never_reaches_the_child(local: Training, tmp_path: Path) -> None:
    run = request(local, tmp_path)
    with local.database.read() as unit:
        by_split: dict[str, set[str]] = {"train": set(), "valid": set(), "test": set()}
        for example in snapshot.load_examples(unit, run.snapshot_id):
            by_split[example.split].add(example.input)
    assert all(by_split.values())
    background = worker(local)
    background.start()
    until(lambda: any(work_folder(local, run)))
    [order] = work_folder(local, run)
    handed = b"".join(path.read_bytes() for path in order.parent.glob("*.json*"))
    lines = (order.parent / "examples.jsonl").read_bytes().splitlines()
    given = {msgspec.json.decode(line)["input"] for line in lines}
    assert given == by_split["train"] | by_split["valid"]
    assert not any(text.encode() in handed for text in by_split["test"])
    assert background.stop(timeout_s=0.0, grace_s=WAIT_S)
    assert read_run(local, run).status is RunStatus.QUEUED


def test_a_run_is_cancelled_and_leaves_nothing(local: Training, tmp_path: Path) -> None:
    run = request(local, tmp_path)
    background = worker(local)
    background.start()
    until(lambda: processes_naming(run.id))
    with local.database.write() as unit:
        assert local.cancel(unit, run.id).status is RunStatus.RUNNING
    until(lambda: read_run(local, run).status is RunStatus.CANCELLED)
    assert background.stop(timeout_s=WAIT_S)
    assert processes_naming(run.id) == []
    assert [path.name for path in local.folder(run.id).iterdir()] == [LOG]
    with local.database.write() as unit:
        assert versions.list_versions(unit) == []
        assert queue.get(unit, run.job_id).status is JobStatus.CANCELLED
        with pytest.raises(Conflict):
            local.cancel(unit, run.id)
    assert local.store.versions("mood") == []


def test_a_queued_run_is_cancelled_at_once(local: Training, tmp_path: Path) -> None:
    run = request(local, tmp_path)
    with local.database.write() as unit:
        assert local.cancel(unit, run.id).status is RunStatus.CANCELLED
    assert worker(local).run_next() is None


def test_a_killed_child_is_started_again(local: Training, tmp_path: Path) -> None:
    run = request(local, tmp_path)
    background = worker(local)
    background.start()
    until(lambda: processes_naming(run.id))
    [pid] = processes_naming(run.id)
    os.kill(pid, signal.SIGKILL)
    until(lambda: read_run(local, run).status is RunStatus.SUCCEEDED)
    assert background.stop(timeout_s=WAIT_S)
    assert_one_version(local, run)
    told = [e.data["status"] for e in read_events(local, run) if e.kind == runs.STATUS]
    assert told == ["queued", "running", "queued", "running", "succeeded"]


def test_a_run_that_takes_too_long_fails_with_the_reason(local: Training, tmp_path: Path) -> None:
    run = request(local, tmp_path, max_seconds=0.5)
    left = worker(local).run_next()
    assert left is not None
    assert left.status is JobStatus.FAILED
    failed = read_run(local, run)
    assert failed.status is RunStatus.FAILED
    assert failed.error is not None
    assert "longer than 0.5 s" in failed.error
    assert processes_naming(run.id) == []


def test_a_missing_base_fails_with_the_reason(local: Training, tmp_path: Path) -> None:
    run = request(local, tmp_path, base="no-such-base")
    assert worker(local).run_next() is not None
    failed = read_run(local, run)
    assert failed.status is RunStatus.FAILED
    assert failed.error is not None
    assert "no-such-base" in failed.error


PROGRAM = """
import os, signal, sys, threading
from pathlib import Path
from typing import Any
import msgspec
from inhouse.core.clock import SystemClock
from inhouse.db.unit import Database
from inhouse.jobs.worker import Timing, Worker
from inhouse.registry import versions
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskSpec
from inhouse.training.execute import JOB, Training

url, folder, spec, die_at = sys.argv[1:]
clock = SystemClock()
training = Training(
    database=Database(url), store=ModelStore(Path(folder) / "store", clock),
    catalog=Catalog([msgspec.json.decode(spec, type=TaskSpec)]), clock=clock,
    runs_dir=Path(folder) / "runs",
)
say = Training._say

def say_and_die(self, job, run, progress, point=None):
    say(self, job, run, progress, point)
    if progress.note == die_at:
        os.kill(os.getpid(), signal.SIGKILL)

Training._say = say_and_die
if die_at == "registering":
    versions.register = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
worker = Worker(
    training.database, {JOB: training}, clock=clock, name="doomed",
    timing=Timing(lease_s=1.5, heartbeat_s=0.3, poll_s=0.05, backoff_s=0.0),
)
worker.start()
threading.Event().wait()
"""


def doom(url: str, folder: Path, die_at: str) -> None:
    """A worker in a process of its own, until it kills itself at that point."""
    script = folder / "doomed.py"
    script.write_text(PROGRAM)
    spec = msgspec.json.encode(SPEC).decode()
    command = [sys.executable, str(script), url, str(folder), spec, die_at]
    with subprocess.Popen(command) as doomed:
        try:
            assert doomed.wait(WAIT_S) == -signal.SIGKILL
        finally:
            doomed.kill()


@pytest.mark.parametrize("phase", ["encoding the examples", "checking what was saved"])
def test_a_killed_workers_run_starts_over_and_makes_one_version(
    local: Training, tmp_path: Path, phase: str
) -> None:
    run = request(local, tmp_path)
    url = local.database.engine.url.render_as_string(hide_password=False)
    doom(url, tmp_path, phase)
    assert phase in notes(local, run)
    until(lambda: not processes_naming(run.id))
    assert read_run(local, run).status is RunStatus.RUNNING
    heir = worker(local)
    heir.start()
    until(lambda: read_run(local, run).status is RunStatus.SUCCEEDED)
    assert heir.stop(timeout_s=WAIT_S)
    assert_one_version(local, run)
    assert job_of(local, run).attempts == 2


def test_a_worker_killed_between_publish_and_register_leaves_one_version(
    training: Training, database_url: str, tmp_path: Path
) -> None:
    run = request(training, tmp_path)
    doom(database_url, tmp_path, "registering")
    published = training.store.versions("mood")
    assert len(published) == 1
    with training.database.read() as unit:
        assert versions.list_versions(unit) == []
    heir = worker(training)
    heir.start()
    until(lambda: job_of(training, run).is_final)
    assert heir.stop(timeout_s=WAIT_S)
    version = assert_one_version(training, run)
    assert [version.store_version] == published
    done = read_run(training, run)
    assert done.metrics is not None
    assert done.metrics["macro_f1"] > 0.7


def job_of(training: Training, run: Run) -> JobRecord:
    with training.database.read() as unit:
        return queue.get(unit, run.job_id)


def test_a_run_whose_workers_all_die_fails(local: Training, tmp_path: Path) -> None:
    run = request(local, tmp_path)
    with local.database.write() as unit:
        for _ in range(queue.MAX_ATTEMPTS):
            job = queue.claim(unit, [JOB], "doomed", at=CLOCK.now(), lease_s=-1.0)
            assert job is not None
            if read_status(unit, run) is RunStatus.QUEUED:
                runs.start(unit, run.id, at=CLOCK.now())
            if job.attempts < queue.MAX_ATTEMPTS:
                lost = queue.release_lost(unit, job.id, at=CLOCK.now())
                assert lost is not None
                local.follow(unit, lost, CLOCK.now())
    assert worker(local).run_next() is None
    failed = read_run(local, run)
    assert (failed.status, failed.error) == (RunStatus.FAILED, queue.LOST)


def read_status(unit: Any, run: Run) -> RunStatus:
    return runs.get(unit, run.id).status


def test_a_snapshot_of_another_revision_is_refused(local: Training, tmp_path: Path) -> None:
    found = build(local, tmp_path)
    other = TaskSpec(
        name="mood", kind=TaskKind.CHOICE, description="", labels=("a", "b"), prompt="other"
    )
    with local.database.write() as unit, pytest.raises(Conflict, match="declared now"):
        local.request(unit, other, found, actor="test")


def outcome(job: JobRecord | None) -> Mapping[str, Any]:
    assert job is not None
    return {"status": job.status, "error": job.error}


def test_labels_that_nobody_gave_fail_the_run_before_any_child(
    local: Training, tmp_path: Path
) -> None:
    four = TaskSpec(
        name="mood",
        kind=TaskKind.CHOICE,
        description="",
        labels=(*SPEC.labels, "mixed"),
        prompt="{{ input }}",
    )
    odd = Training(
        database=local.database,
        store=local.store,
        catalog=Catalog([four]),
        clock=CLOCK,
        runs_dir=local.runs_dir,
    )
    run = request(odd, tmp_path, four)
    found = outcome(worker(odd).run_next())
    assert found["status"] is JobStatus.FAILED
    assert "no example of 'mixed'" in found["error"]
    assert read_run(odd, run).error == found["error"]
    assert list(odd.folder(run.id).iterdir()) == []
