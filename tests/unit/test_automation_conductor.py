"""The conductor on a database: what it proposes, what people decide, what it does by itself."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, update

from inhouse.automation import records
from inhouse.automation.carry import JOB, Proposals
from inhouse.automation.conductor import Conductor
from inhouse.automation.records import ProposalRecord
from inhouse.automation.steps import ProposalState, What
from inhouse.automation.tell import tell
from inhouse.automation.train import Trigger
from inhouse.core.errors import Conflict
from inhouse.core.ids import new_id
from inhouse.core.states import JobStatus, RunStatus, VersionStatus
from inhouse.datasets import snapshot
from inhouse.datasets.arrange import BuildSettings
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.evaluation import records as evaluations
from inhouse.evaluation.run import JOB as EVALUATION_JOB
from inhouse.evaluation.tables import Evaluation
from inhouse.feedback.submit import submit
from inhouse.interactions import record
from inhouse.jobs import handler, pause, queue
from inhouse.jobs.handler import JobContext
from inhouse.jobs.worker import Worker
from inhouse.monitoring.tables import Drift
from inhouse.registry import move, versions
from inhouse.rollout import records as rollouts
from inhouse.rollout import steer
from inhouse.rollout.plan import RolloutState
from inhouse.settings import RolloutSettings, Settings, TaskSettings, TrainingSettings
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import load_catalog
from inhouse.testing.clock import FrozenClock
from inhouse.testing.versions import add_version
from inhouse.training import runs
from inhouse.training.execute import Training

UP = "embedded/general"
PASS = {"verdict": "pass", "reasons": ["better"]}


class World:
    """One project: a task ``mood``, its settings, and what happens to it."""

    def __init__(
        self, database: Database, clock: FrozenClock, folder: Path, **rollout: Any
    ) -> None:
        self.database, self.clock = database, clock
        task = TaskSettings(
            kind="choice",
            labels=("bad", "good"),
            prompt="{{ input }}",
            chain=(UP,),
            rollout=RolloutSettings(**rollout),
            training=TrainingSettings(retrain_after=4),
        )
        self.settings = Settings(tasks={"mood": task})
        catalog = load_catalog(self.settings)
        self.spec = catalog.get("mood")
        self.training = training = Training(
            database=database,
            store=ModelStore(folder / "store", clock),
            catalog=catalog,
            clock=clock,
            runs_dir=folder / "runs",
        )
        self.proposals = Proposals(catalog=catalog, clock=clock, settings=lambda: self.settings)
        trigger = Trigger(database=database, training=training, proposals=self.proposals)
        self.worker = Worker(database, {JOB: trigger}, clock=clock, name="test")
        self.handlers = {JOB: trigger}

    def declare(self, **changes: Any) -> None:
        """Change the settings of the task's rollouts."""
        task = self.settings.tasks["mood"]
        rollout = task.rollout.model_copy(update=changes)
        tasks = {"mood": task.model_copy(update={"rollout": rollout})}
        self.settings = self.settings.model_copy(update={"tasks": tasks})

    def tick(self) -> list[ProposalRecord]:
        self.clock.advance(1)
        return Conductor(self.database, self.proposals).tick()

    def corrections(self, count: int, text: str = "") -> None:
        """Corrected calls, and as many comments, which nothing can be learned from."""
        self.clock.advance(1)
        with self.database.write() as unit:
            for number in range(count):
                call = record.InteractionRecord(
                    id=new_id(),
                    created_at=self.clock.now(),
                    status="answered",
                    input=f"{text or new_id()} {number}",
                    output={"label": "bad"},
                    latency_ms=1.0,
                    task="mood",
                    task_revision=self.spec.revision,
                )
                record.insert(unit, [call])
                label = ("good", "bad")[number % 2]
                for kind, value in (("correction", label), ("comment", "hm")):
                    submit(
                        unit,
                        interaction_id=call.id,
                        kind=kind,
                        value=value,
                        author="ann",
                        idempotency_key=None,
                        at=self.clock.now(),
                        catalog=self.proposals.catalog,
                    )

    def version(self, *, against: str = UP, **evaluation: Any) -> str:
        """A candidate that was evaluated, 10 % better than ``against`` unless said otherwise."""
        self.clock.advance(1)
        at = self.clock.now()
        with self.database.write() as unit:
            made = add_version(unit, self.spec, at)
        self.evaluate(made.reference, against=against, **evaluation)
        return made.reference

    def evaluate(
        self, reference: str, *, against: str = UP, low: float = 0.02, **told: Any
    ) -> None:
        with self.database.write() as unit:
            version = versions.get(unit, "mood", int(reference.partition("@")[2]))
            begun = evaluations.begin(
                unit,
                task="mood",
                task_revision=self.spec.revision,
                candidate=reference,
                version_id=version.id,
                snapshot_id="s",
                settings={"gate": {"margin": 0.02}},
                at=self.clock.now(),
            )
            figures = {"score": {"estimate": 0.8, "low": 0.7, "high": 0.9}}
            results = [
                {"reference": one, "figures": figures, "latency": None}
                for one in (reference, against)
            ]
            gap = {"estimate": 0.08, "low": low, "high": 0.14}
            values = {
                "status": "done",
                "results": results,
                "comparisons": [{"other": against, "difference": gap}],
                **PASS,
                **told,
            }
            table = table_of(Evaluation)
            unit.execute(update(table).where(table.c.id == begun.id).values(**values))

    def end_run(self, status: RunStatus = RunStatus.SUCCEEDED) -> runs.Run:
        """Let the newest training run end."""
        with self.database.write() as unit:
            [run, *_] = runs.list_runs(unit, task="mood")
            runs.start(unit, run.id, at=self.clock.now())
            if status is RunStatus.FAILED:
                return runs.fail(unit, run.id, "no", at=self.clock.now())
            return runs.succeed(unit, run.id, version_id="v", metrics={}, at=self.clock.now())

    def runs(self) -> list[runs.Run]:
        with self.database.read() as unit:
            return runs.list_runs(unit)

    def found(self, **wanted: Any) -> list[ProposalRecord]:
        with self.database.read() as unit:
            return records.list_proposals(unit, **wanted)

    def rollouts(self) -> list[rollouts.RolloutRecord]:
        with self.database.read() as unit:
            return rollouts.list_rollouts(unit)

    def accept(self, proposal: ProposalRecord) -> ProposalRecord:
        with self.database.write() as unit:
            return self.proposals.accept(unit, proposal, actor="ada", reason="yes")

    def decline(self, proposal: ProposalRecord) -> ProposalRecord:
        with self.database.write() as unit:
            return self.proposals.decline(unit, proposal, actor="ada", reason="not now")

    def words(self) -> tuple[str, str]:
        with self.database.read() as unit:
            [task] = tell(unit, self.proposals, [self.spec]).tasks
        return task.training, task.rollout


@pytest.fixture
def world(sqlite_database: Database, clock: FrozenClock, tmp_path: Path) -> World:
    return World(sqlite_database, clock, tmp_path)


def test_training_is_proposed_accepted_and_run_once(
    database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    world = World(database, clock, tmp_path)
    world.corrections(3)
    assert world.tick() == []
    assert world.words() == ("waits: 3 of 4 new examples", "waits: no candidate")
    world.corrections(1)
    [proposal] = world.tick()
    assert (proposal.what, proposal.state) == (What.TRAIN, ProposalState.OPEN)
    assert proposal.why == "at least 4 examples and no own model yet (retrain_after 4)"
    assert proposal.evidence == {"new": 4}
    assert world.tick() == []
    assert world.runs() == []

    taken = world.accept(proposal)
    assert (taken.state, taken.decided_by) == (ProposalState.ACCEPTED, "ada")
    with pytest.raises(Conflict, match="is accepted by ada"):
        world.accept(taken)
    assert world.tick() == []
    done = world.worker.run_next()
    assert done is not None
    assert done.error is None
    [run] = world.runs()
    assert (run.actor, run.recipe) == ("ada", "encoder-head.v1")
    [proposal] = world.found()
    assert (proposal.state, proposal.result["run_id"]) == (ProposalState.DONE, run.id)
    with database.write() as unit:
        again = queue.enqueue(unit, JOB, {"proposal_id": proposal.id}, at=clock.now())
    assert world.worker.run_next(again.id) is not None
    assert len(world.runs()) == 1


def test_a_declined_training_comes_back_with_new_evidence_only(world: World) -> None:
    world.corrections(4)
    [proposal] = world.tick()
    world.corrections(3)
    assert world.decline(proposal).reason == "not now"
    assert world.tick() == []
    assert world.words()[0].startswith("waits: nothing new to learn from since")
    with pytest.raises(Conflict, match="is declined by ada"):
        world.accept(world.found()[0])
    world.corrections(4)
    [again] = world.tick()
    assert (again.evidence["new"], again.based_on) == (4, proposal.id)


def test_a_run_that_a_person_starts_makes_the_proposal_outdated(world: World) -> None:
    world.corrections(4)
    [proposal] = world.tick()
    world.clock.advance(1)
    with world.database.write() as unit:
        built = snapshot.build(unit, world.spec, settings=BuildSettings(), at=world.clock.now())
        world.training.request(unit, world.spec, built, actor="bob")
    with pytest.raises(Conflict, match="a training run was started meanwhile"):
        world.accept(proposal)
    [gone] = world.tick()
    assert (gone.id, gone.state) == (proposal.id, ProposalState.EXPIRED)
    assert world.tick() == []


def test_automation_trains_by_itself_once_for_a_trigger(world: World) -> None:
    world.declare(automation="on")
    world.corrections(4)
    assert [one.state for one in world.tick()] == [ProposalState.OPEN, ProposalState.ACCEPTED]
    assert world.tick() == []
    assert world.worker.run_next() is not None
    assert world.tick() == []
    [run] = world.runs()
    assert run.actor == "automation"
    world.end_run(RunStatus.FAILED)
    assert world.tick() == []
    assert "the last 1 runs failed; not before" in world.words()[0]
    world.clock.advance(2 * 3600)
    assert world.tick()[-1].state is ProposalState.ACCEPTED
    assert world.worker.run_next() is not None
    assert len(world.runs()) == 2


def test_drift_trains_again_but_not_on_the_same_examples(world: World) -> None:
    world.declare(automation="on")
    world.corrections(4, text="the same")
    world.tick()
    world.worker.run_next()
    world.end_run()
    world.clock.advance(86_400)
    with world.database.write() as unit:
        far = {"reference": UP, "calls": 50, "inputs": 0.4, "outputs": None, "drifted": True}
        row = {"id": new_id(), "task": "mood", "detail": {}, "created_at": world.clock.now()}
        unit.execute(insert(table_of(Drift)).values(**row, **far))
    assert world.tick() == []
    world.corrections(1, text="the same")
    proposal = world.tick()[-1]
    assert proposal.why.startswith("drift on 2026-01-02 00:00 (inputs 0.4), 1 new examples")
    done = world.worker.run_next()
    assert done is not None
    [run] = world.runs()
    assert done.result == {"expired": f"the examples are those of training run {run.id}"}
    assert world.found()[0].state is ProposalState.EXPIRED
    assert world.tick() == []


def test_a_job_that_is_cancelled_ends_its_proposal(world: World) -> None:
    world.corrections(4)
    [proposal] = world.tick()
    job_id = world.accept(proposal).result["job_id"]
    with world.database.write() as unit:
        handler.cancel(unit, world.handlers, job_id, at=world.clock.now())
        with pytest.raises(Conflict, match="is expired"):
            handler.retry(unit, world.handlers, job_id, at=world.clock.now())
    assert world.found()[0].reason == f"job {job_id} was cancelled"


def test_a_worker_that_dies_after_it_asked_for_the_run_keeps_no_job_waiting(
    database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    world = World(database, clock, tmp_path, automation="on")
    world.corrections(4)
    world.tick()
    with database.write() as unit:
        job = queue.claim(unit, [JOB], "dies", at=clock.now())
        assert job is not None
    asked = world.handlers[JOB](JobContext(database, clock, job), dict(job.arguments))
    clock.advance(queue.LEASE_SECONDS + 1)
    done = world.worker.run_next()
    assert done is not None
    assert (done.id, done.status) == (job.id, JobStatus.DONE)
    assert done.result is not None
    assert done.result["run_id"] == asked["run_id"]
    assert len(world.runs()) == 1


def test_paused_does_nothing(world: World) -> None:
    world.declare(automation="on")
    world.corrections(4)
    world.version()
    with world.database.write() as unit:
        pause.pause(unit, actor="ada", reason="", at=world.clock.now())
    assert world.tick() == []
    assert (world.found(), world.rollouts()) == ([], [])
    with world.database.write() as unit:
        pause.resume(unit)
    assert len(world.tick()) == 4


def test_off_does_nothing_at_all(world: World) -> None:
    world.declare(automation="off")
    world.corrections(4)
    world.version()
    assert world.tick() == []
    assert world.found() == []
    assert world.words() == ("off", "off")


def test_a_version_goes_out_when_a_person_accepts(
    database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    world = World(database, clock, tmp_path)
    reference = world.version()
    [proposal] = world.tick()
    assert (proposal.what, proposal.about) == (What.ROLL_OUT, reference)
    assert world.tick() == []
    assert world.rollouts() == []
    assert "waits for a person" in world.words()[1]
    done = world.accept(proposal)
    [rollout] = world.rollouts()
    assert (done.state, done.result) == (ProposalState.DONE, {"rollout_id": rollout.id})
    assert (rollout.candidate, rollout.state) == (reference, RolloutState.RAMPING)
    assert (rollout.actor, rollout.reason) == ("ada", "yes")
    assert world.tick() == []
    with pytest.raises(Conflict, match="is done by ada"):
        world.accept(done)


def test_a_version_that_is_not_worth_it_stays_a_candidate_with_a_reason(world: World) -> None:
    world.declare(automation="on")
    world.version(low=-0.01)
    [refused] = world.tick()
    assert (refused.state, refused.decided_by) == (ProposalState.DECLINED, "automation")
    assert refused.reason.startswith("not better than embedded/general by 5%: +0.080")
    assert world.tick() == []
    assert world.rollouts() == []
    world.clock.advance(1)
    world.evaluate("mood@1")
    assert [one.state for one in world.tick()] == [ProposalState.OPEN, ProposalState.DONE]


def test_a_version_that_was_sent_back_is_never_started_again(world: World) -> None:
    world.declare(automation="on")
    world.version()
    world.tick()
    [rollout] = world.rollouts()
    at = world.clock.now()
    with world.database.write() as unit:
        steer.rollback(unit, world.spec, rollout, actor="ada", reason="bad", at=at)
        version = versions.get(unit, "mood", 1)
        assert version.status is VersionStatus.REJECTED
    assert world.tick() == []
    with world.database.write() as unit:
        versions.set_status(unit, version.id, VersionStatus.CANDIDATE, by="ada", why="again", at=at)
    world.clock.advance(1)
    world.evaluate("mood@1")
    assert world.tick() == []
    assert world.words()[1] == "waits: mood@1 is never started by itself: it was rolled back"


def test_a_newer_version_takes_the_place_of_the_one_that_ramps(world: World) -> None:
    world.declare(automation="on")
    world.version()
    world.tick()
    world.version()
    world.tick()
    newer, older = world.rollouts()
    assert (newer.candidate, newer.incumbent) == ("mood@2", UP)
    assert (older.state, older.superseded_by) == (RolloutState.ABORTED, "mood@2")
    world.version()
    with world.database.write() as unit:
        steer.pause(unit, newer, actor="ada", reason="", at=world.clock.now())
    assert world.tick() == []
    assert "a person paused the rollout of mood@2" in world.words()[1]


def test_what_answers_by_then_must_have_been_compared(world: World) -> None:
    world.version()
    [first] = world.tick()
    world.version()
    second, expired = world.tick()
    assert (expired.id, expired.reason) == (first.id, "mood@2 is newer")
    world.clock.advance(1)
    with world.database.write() as unit:
        told: dict[str, Any] = {"actor": "ada", "reason": "", "at": world.clock.now()}
        move.set_weight(unit, world.spec, candidate="mood@1", percent=100, **told)
    with pytest.raises(Conflict, match="was not compared with what answers now"):
        world.accept(second)
    [gone] = world.tick()
    assert gone.state is ProposalState.EXPIRED


def test_a_version_is_evaluated_again_when_another_answers(world: World) -> None:
    world.declare(automation="on")
    world.version(low=-0.01)
    world.version()
    with world.database.write() as unit:
        world.clock.advance(1)
        told: dict[str, Any] = {"actor": "ada", "reason": "", "at": world.clock.now()}
        move.set_weight(unit, world.spec, candidate="mood@1", percent=100, **told)
    proposal = world.tick()[-1]
    assert (proposal.what, proposal.state) == (What.EVALUATE, ProposalState.DONE)
    assert world.tick() == []
    with world.database.write() as unit:
        [job] = queue.list_jobs(unit, name=EVALUATION_JOB)
        queue.cancel(unit, job.id, at=world.clock.now())
    assert world.tick() == []
    world.clock.advance(1)
    world.evaluate("mood@2", against="mood@1")
    world.tick()
    [rollout] = world.rollouts()
    assert (rollout.candidate, rollout.incumbent) == ("mood@2", "mood@1")


def test_what_became_of_an_evaluation_that_was_proposed_is_told(world: World) -> None:
    world.version(low=-0.01)
    world.version()
    with world.database.write() as unit:
        world.clock.advance(1)
        told: dict[str, Any] = {"actor": "ada", "reason": "", "at": world.clock.now()}
        move.set_weight(unit, world.spec, candidate="mood@1", percent=100, **told)
    proposal = world.tick()[-1]
    assert proposal.state is ProposalState.OPEN
    assert "its evaluation is proposed and waits for a person" in world.words()[1]
    with world.database.write() as unit:
        world.proposals.decline(unit, proposal, actor="ada", reason="no time")
    assert "its evaluation was declined by ada: no time" in world.words()[1]


def test_of_two_conductors_one_acts(database: Database, clock: FrozenClock, tmp_path: Path) -> None:
    world = World(database, clock, tmp_path, automation="on")
    world.corrections(4)
    world.version()
    ready = threading.Barrier(4)

    def race() -> None:
        conductor = Conductor(database, world.proposals)
        ready.wait(30)
        conductor.tick()

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.tick()
    trained, rolled = sorted(world.found(), key=lambda one: one.what, reverse=True)
    assert (trained.what, rolled.what) == (What.TRAIN, What.ROLL_OUT)
    assert (trained.state, rolled.state) == (ProposalState.ACCEPTED, ProposalState.DONE)
    assert len(world.rollouts()) == 1
    with database.read() as unit:
        assert len(queue.list_jobs(unit, name=JOB)) == 1


def test_a_database_that_is_gone_is_survived(
    world: World, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    empty = Database(f"sqlite:///{tmp_path / new_id()}.db")
    conductor = Conductor(empty, world.proposals)
    assert conductor.tick() == []
    assert conductor.tick() == []
    empty.close()
    assert caplog.messages.count("automation stands still") == 1


def test_a_thread_looks_again_and_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inhouse.automation.conductor.EVERY_S", 0.01)
    world.corrections(4)
    conductor, looked = Conductor(world.database, world.proposals), threading.Event()

    @event.listens_for(world.database.engine, "before_cursor_execute")
    def look(_c: object, _u: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO proposal"):
            looked.set()

    conductor.start()
    assert looked.wait(30)
    conductor.stop()
    conductor.stop()
    assert len(world.found()) == 1
