"""The whole chain with real weights: examples, a run, its gate, a rollout, a new incumbent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inhouse.automation import records
from inhouse.automation.steps import ProposalState, What
from inhouse.bootstrap import App, bootstrap
from inhouse.core.states import JobStatus, VersionStatus
from inhouse.datasets.ingest import import_file
from inhouse.registry import routes, versions
from inhouse.rollout import records as rollouts
from inhouse.rollout.plan import RolloutState
from inhouse.settings import load_settings
from inhouse.testing.traffic import Traffic
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.training import runs

pytestmark = pytest.mark.models

ANIMALS = """
badger otter heron walrus lizard donkey falcon tortoise hamster panther giraffe zebra lion tiger
leopard cheetah elephant rhinoceros hippopotamus camel kangaroo koala wombat monkey gorilla
chimpanzee baboon lemur sloth anteater armadillo hedgehog squirrel beaver rabbit hare mouse rat
weasel ferret mink wolf fox coyote jackal hyena bear panda raccoon skunk seal dolphin whale
porpoise shark trout salmon herring tuna eel octopus squid lobster crab shrimp snail slug spider
scorpion beetle ant wasp bee butterfly moth grasshopper cricket dragonfly frog toad newt
salamander crocodile alligator python cobra viper eagle hawk owl vulture pigeon sparrow robin
crow magpie swallow penguin
"""
TOOLS = """
hammer screwdriver wrench pliers saw drill chisel axe shovel rake wheelbarrow ladder bucket
broom mop vacuum toaster kettle oven refrigerator dishwasher blender microwave lamp chandelier
sofa armchair table desk wardrobe bookcase mattress pillow curtain carpet mirror computer
keyboard printer scanner telephone camera television radio loudspeaker microphone battery cable
truck tractor bicycle motorcycle bus tram locomotive airplane helicopter submarine ferryboat
canoe sailboat parachute engine gearbox carburettor tyre windscreen piano violin trumpet guitar
drumkit flute clarinet saxophone accordion harp scissors stapler notebook pencil eraser ruler
calculator envelope umbrella suitcase backpack wallet spectacles wristwatch thermometer
microscope telescope barometer compass crane excavator bulldozer
"""
KINDS = {"animal": ANIMALS, "thing": TOOLS}
TASK = "automation-kind"
TOML = """
[store]
path = "{store}"
[upstreams.local]
base_url = "{url}"
[tasks.automation-kind]
kind = "choice"
labels = ["animal", "thing"]
prompt = "An animal or a thing? {{{{ input }}}}"
chain = ["local/general"]
[tasks.automation-kind.rollout]
automation = "on"
steps = [50, 100]
margin = 0.2
min_success = 0
max_p95_s = 0
first_calls = 20
dwell_s = 0
bake_s = 0
guardrails = ["success"]
[tasks.automation-kind.training]
retrain_after = 180
"""


@pytest.fixture
def app(tmp_path: Path, weights_store: Path) -> Iterator[App]:
    with ScriptedUpstream({"general": "animal"}) as upstream:
        declared = TOML.format(store=weights_store, url=upstream.base_url)
        (tmp_path / "inhouse.toml").write_text(declared, encoding="utf-8")
        yield bootstrap(load_settings(tmp_path, {}))


def _import(app: App, folder: Path) -> int:
    rows = [f"{text},{label}" for label, all_of in KINDS.items() for text in all_of.split()]
    path = folder / "rows.csv"
    path.write_text("\n".join(("text,label", *rows)), encoding="utf-8")
    assert import_file(app.database, app.catalog.get(TASK), path, clock=app.clock).added == len(
        rows
    )
    return len(rows)


def outlook(app: App) -> str:
    with app.database.read() as unit:
        return app.proposals.look(unit, app.catalog.get(TASK)).rollout.why


def test_examples_become_the_model_that_answers(app: App, tmp_path: Path) -> None:
    conductor, worker = app.conductor, app.make_worker(1)
    assert _import(app, tmp_path) >= 180
    assert conductor.tick()[-1].what is What.TRAIN
    for name in ("automation.train", "training.run", "evaluation.run"):
        assert conductor.tick() == []
        done = worker.run_next()
        assert done is not None
        assert (done.name, done.status, done.error) == (name, JobStatus.DONE, None)
    made = conductor.tick()
    assert made, outlook(app)
    rolled = made[-1]
    assert (rolled.what, rolled.state) == (What.ROLL_OUT, ProposalState.DONE), rolled
    with app.database.read() as unit:
        [run] = runs.list_runs(unit)
        [rollout] = rollouts.list_rollouts(unit)
        assert {one.state for one in records.list_proposals(unit)} == {ProposalState.DONE}
    assert (run.actor, rollout.actor) == ("automation", "automation")
    assert (rollout.candidate, rollout.incumbent) == (f"{TASK}@1", "local/general")
    assert rollout.state is RolloutState.RAMPING

    traffic = Traffic(app.database, app.catalog.get(TASK), app.clock)
    kinds = []
    for _ in range(3):
        traffic.send(300)
        kinds += [made.kind for made in app.controller.tick()]
        assert conductor.tick() == []
    assert kinds == ["bake", "finish"]
    with app.database.read() as unit:
        route = routes.current(unit, TASK)
        [version] = versions.list_versions(unit)
    assert route is not None
    assert (route.incumbent, route.candidate) == (f"{TASK}@1", None)
    assert version.status is VersionStatus.ACTIVE
