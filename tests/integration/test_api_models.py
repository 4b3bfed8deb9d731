"""The control routes behind the pages of tasks, training, evaluations and data sets."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.client.sync import Client
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.ingest import import_file
from inhouse.datasets.snapshot import SnapshotRecord, build, load_examples
from inhouse.datasets.tables import SnapshotExample
from inhouse.db.dialects import table_of
from inhouse.evaluation import records
from inhouse.evaluation.gate import GateSettings, compare, decide
from inhouse.evaluation.measure import Answer, measure
from inhouse.registry import versions
from inhouse.settings import ServerSettings, Settings, TaskSettings, UpstreamSettings
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.training import runs
from inhouse.training.execute import LOG

LABELS = ("negative", "neutral", "positive")
EXAMPLES = table_of(SnapshotExample)
NOWHERE = "01a1fc81-377b-7e39-ae5c-ea490c74ea49"


@dataclass(frozen=True)
class Project:
    """A server over a project with a snapshot, a version and its evaluation."""

    app: App
    url: str
    snapshot: SnapshotRecord
    evaluation_id: str

    def get(self, path: str) -> Any:
        status, found = self.ask("GET", path)
        assert status == 200, found
        return found

    def ask(self, method: str, path: str, value: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        body = None if value is None else json.dumps(value).encode()
        connection.request(method, path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        is_json = "json" in (response.getheader("content-type") or "")
        return response.status, json.loads(content) if is_json else content.decode()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    with ScriptedUpstream({"good": "positive"}) as upstream:
        task = TaskSettings(builtin="sentiment", kind="choice", chain=("local/good",))
        settings = Settings(
            server=ServerSettings(workers=0),
            upstreams={"local": UpstreamSettings(base_url=upstream.base_url)},
            tasks={"sentiment": task, "other": task},
            folder=folder,
        )
        app = bootstrap(settings)
        frozen = freeze(app, folder)
        evaluation_id = evaluate(app, frozen)
        with serve_in_thread(app) as handle:
            yield Project(app, handle.url, frozen, evaluation_id)


def freeze(app: App, folder: Path) -> SnapshotRecord:
    rows = folder / "rows.jsonl"
    lines = [{"text": f"Text {n} is here.", "label": LABELS[n % 3]} for n in range(60)]
    rows.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    spec = app.catalog.get("sentiment")
    import_file(app.database, spec, rows, clock=app.clock)
    with app.database.write() as unit:
        return build(unit, spec, settings=BuildSettings(), at=app.clock.now())


def evaluate(app: App, frozen: SnapshotRecord) -> str:
    """An evaluation whose candidate is right but for the first two texts of the split, the second
    of which it does not answer at all."""
    spec, at = app.catalog.get("sentiment"), app.clock.now()
    with app.database.write() as unit:
        version = versions.register(
            unit,
            task=spec.name,
            task_revision=spec.revision,
            artifact="sentiment",
            store_version="20260101T000000Z-00000000",
            manifest_digest="sha256:" + "0" * 64,
            recipe="encoder-head.v1",
            run_id=None,
            snapshot_id=frozen.id,
            at=at,
        )
        targets = [example.target for example in load_examples(unit, frozen.id, splits=("test",))]
        own = [sure(target["label"], 0.8) for target in targets]
        own[0] = sure(next(one for one in LABELS if one != targets[0]["label"]), 0.95)
        own[1] = Answer(output=None, error_code="timeout")
        general = [Answer(output={"label": "positive"}) for _ in targets]
        found = [
            measure(
                spec,
                reference=reference,
                role=role,
                about="",
                answers=answers,
                targets=targets,
                rng=random.Random(1),
            )
            for reference, role, answers in (
                (version.reference, "candidate", own),
                ("local/good", "general", general),
            )
        ]
        comparisons = [compare(found[0], found[1], random.Random(1))]
        begun = records.begin(
            unit,
            task=spec.name,
            task_revision=spec.revision,
            candidate=version.reference,
            version_id=version.id,
            snapshot_id=frozen.id,
            settings={"gate": {"margin": 0.02}, "seed": 1},
            at=at,
        )
        verdict = decide(found[0], comparisons, GateSettings())
        records.finish(
            unit, begun.id, results=found, comparisons=comparisons, verdict=verdict, at=at
        )
    return begun.id


def sure(label: str, probability: float) -> Answer:
    rest = (1 - probability) / 2
    probabilities = {one: probability if one == label else rest for one in LABELS}
    return Answer(output={"label": label}, probabilities=probabilities)


def test_the_report_of_an_evaluation(project: Project) -> None:
    n = project.snapshot.counts["test"]
    report = project.get(f"/v1/evaluations/{project.evaluation_id}/report")
    assert (report["reference"], report["kind"], report["n"]) == ("sentiment@1", "choice", n)
    matrix = report["confusion"]
    right = sum(matrix["counts"][place][place] for place in range(3))
    assert (matrix["labels"], right, sum(matrix["failures"])) == (list(LABELS), n - 2, 1)
    assert sum(label["support"] for label in report["labels"]) == n
    assert sum(point["n"] for point in report["reliability"]) == n - 1
    general = project.get(f"/v1/evaluations/{project.evaluation_id}/report?reference=local/good")
    assert general["reliability"] == []
    assert [label["answered"] for label in general["labels"]] == [0, 0, n]


def test_errors_come_the_worst_first_and_page_by_page(project: Project) -> None:
    path = f"/v1/evaluations/{project.evaluation_id}/errors"
    page = project.get(path)
    assert (page["total"], page["n"]) == (2, project.snapshot.counts["test"])
    assert [one["confidence"] for one in page["items"]] == [0.95, None]
    assert page["items"][1]["error_code"] == "timeout"
    with project.app.database.read() as unit:
        asked = load_examples(unit, project.snapshot.id, splits=("test",))
    assert page["items"][0]["input"] == asked[0].input
    second = project.get(f"{path}?offset=1&limit=1")
    assert second["items"] == page["items"][1:]
    assert project.get(f"{path}?offset=9")["items"] == []


def test_a_reference_that_was_not_asked_is_said(project: Project) -> None:
    path = f"/v1/evaluations/{project.evaluation_id}/report?reference=nobody/x"
    status, problem = project.ask("GET", path)
    assert (status, problem["code"]) == (404, "evaluation-reference")
    assert "local/good" in problem["hint"]


def test_traffic_of_a_task(project: Project) -> None:
    empty = project.get("/v1/tasks/other/traffic")
    assert (empty["total"]["calls"], empty["total"]["p95_ms"], empty["references"]) == (0, None, [])
    with Client(project.url) as client:
        for number in range(3):
            client.run("other", f"Text {number}.")
    project.app.recorder.flush()
    found = project.get("/v1/tasks/other/traffic?days=1")
    assert (found["total"]["calls"], found["total"]["answered"]) == (3, 3)
    [by] = found["references"]
    assert (by["reference"], by["hosting"], by["traffic"]["calls"]) == ("local/good", "local", 3)
    assert 0 < by["traffic"]["p50_ms"] <= by["traffic"]["p95_ms"]


def test_recipes_and_what_they_can_be_told(project: Project) -> None:
    found = {recipe["name"]: recipe for recipe in project.get("/v1/training/recipes")}
    assert found["encoder-head.v1"]["default"] is True
    assert found["encoder-head.v1"]["settings"]["properties"]["folds"]["default"] == 5


def test_a_run_that_is_over_can_be_repeated(project: Project) -> None:
    wish = {"task": "sentiment", "snapshot_id": project.snapshot.id, "settings": {"seed": 4}}
    _, run = project.ask("POST", "/v1/training/runs", wish)
    path = f"/v1/training/runs/{run['id']}"
    status, problem = project.ask("POST", f"{path}/retry")
    assert (status, problem["code"]) == (409, "run-state")
    project.ask("POST", f"{path}/cancel")
    status, again = project.ask("POST", f"{path}/retry")
    assert (status, again["status"], again["id"] != run["id"]) == (200, "queued", True)
    assert (again["settings"], again["snapshot_id"]) == (run["settings"], run["snapshot_id"])
    assert project.ask("POST", f"/v1/training/runs/{NOWHERE}/retry")[0] == 404


def test_the_log_of_a_run_is_its_end(project: Project) -> None:
    _, run = project.ask("POST", "/v1/training/runs", {"task": "sentiment"})
    path = f"/v1/training/runs/{run['id']}/log"
    assert project.get(path) == ""
    folder = project.app.training.folder(run["id"])
    folder.mkdir(parents=True)
    (folder / LOG).write_text("first\n" + "x" * 70_000 + "\nlast ü\n", encoding="utf-8")
    found = project.get(path)
    assert found.endswith("last ü\n")
    assert "first" not in found
    assert project.ask("GET", f"/v1/training/runs/{NOWHERE}/log")[0] == 404


def test_the_page_of_a_run_draws_what_its_progress_says(project: Project) -> None:
    _, run = project.ask("POST", "/v1/training/runs", {"task": "sentiment"})
    assert "Score on validation" not in project.get(f"/training/{run['id']}")
    with project.app.database.write() as unit:
        runs.start(unit, run["id"], at=project.app.clock.now())
        for step in (10, 20, 30):
            point = {
                "part": "final",
                "epoch": step,
                "train_loss": 1 / step,
                "valid_score": step / 40,
            }
            said = {"done": step, "total": 100, "note": f"step {step}", "point": point}
            runs.append(unit, run["id"], runs.PROGRESS, said, at=project.app.clock.now())
    page = project.get(f"/training/{run['id']}")
    for words in (
        "Score on validation: 0.750 after epoch 30 of final",
        "30 %, step 30",
        "Cancel run",
    ):
        assert words in page
    assert project.ask("GET", f"/training/{NOWHERE}")[0] == 404


def test_the_kill_switch_moves_what_was_moved(project: Project) -> None:
    assert project.get("/v1/routes/other")["revision"] == 0
    wish = {"weight": 20, "candidate": "local/bad", "reason": "a try"}
    project.ask("POST", "/v1/routes/other", wish)
    assert project.ask("POST", "/v1/routes/rollback", {"reason": ""})[0] == 422
    _, moved = project.ask("POST", "/v1/routes/rollback", {"reason": "stop"})
    assert [(one["task"], one["weight_bp"], one["reason"]) for one in moved] == [
        ("other", 0, "stop")
    ]
    assert project.ask("POST", "/v1/routes/rollback", {"reason": "again"})[1] == []


def test_examples_are_browsed_by_split_and_label(project: Project) -> None:
    path = f"/v1/datasets/{project.snapshot.id}/examples?split=train&label=neutral&limit=5"
    seen: list[int] = []
    page: dict[str, Any] = {"next": -1}
    while page["next"] is not None:
        page = project.get(f"{path}&after={page['next']}")
        assert all(one["split"] == "train" for one in page["items"])
        assert all(one["target"] == {"label": "neutral"} for one in page["items"])
        seen += [one["position"] for one in page["items"]]
    expected = project.snapshot.counts["labels"]["train"]["neutral"]
    assert (len(seen), len(set(seen)), page["total"]) == (expected, expected, expected)


def test_sources_of_a_snapshot(project: Project) -> None:
    assert project.get(f"/v1/datasets/{project.snapshot.id}/sources") == {"rows.jsonl": 60}
    assert project.ask("GET", f"/v1/datasets/{NOWHERE}/sources")[0] == 404


def test_files_and_routes_of_a_version(project: Project) -> None:
    found = project.get("/v1/versions/sentiment/1/files")
    assert (found["manifest"], found["standing"]) == (None, [])
    assert found["problem"] != ""
    assert project.ask("GET", "/v1/versions/sentiment/9/files")[0] == 404


@pytest.mark.parametrize(
    "path", ["/tasks", "/tasks/sentiment", "/datasets", "/training", "/versions", "/evaluations"]
)
def test_pages_answer_with_html(project: Project, path: str) -> None:
    status, page = project.ask("GET", path)
    assert status == 200
    assert "<h1>" in page


def test_an_evaluation_whose_examples_are_gone_keeps_its_scores(project: Project) -> None:
    app = project.app
    with app.database.write() as unit:
        unit.execute(
            EXAMPLES.delete().where(
                EXAMPLES.c.snapshot_id == project.snapshot.id, EXAMPLES.c.split == "test"
            )
        )
    path = f"/v1/evaluations/{project.evaluation_id}"
    status, problem = project.ask("GET", f"{path}/report")
    assert (status, problem["code"]) == (409, "examples-erased")
    assert project.get(path)["verdict"] is not None
    for page in (f"/evaluations/{project.evaluation_id}", "/versions/sentiment/1"):
        status, text = project.ask("GET", page)
        assert status == 200
        assert "evaluate again for what the answers look like" in text
