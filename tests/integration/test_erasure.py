"""A subject's way through a real server: asked, corrected, learned from, erased, gone."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.cli import interactions as interactions_cli
from inhouse.cli import routes as routes_cli
from inhouse.cli import versions as versions_cli
from inhouse.cli.context import set_folder
from inhouse.gateway import keys
from inhouse.settings import load_settings
from inhouse.testing.upstream_server import ScriptedUpstream

pytestmark = pytest.mark.models

PATIENCE_S = 180.0
TASK = "erasure-weather"
MARK = "zyzzyva90125"
ANN = "ann/of the north"
WARM = ("sunny", "bright", "golden", "clear", "glowing", "shining")
COLD = ("rainy", "grey", "stormy", "foggy", "freezing", "gloomy")
PLACES = ("harbour", "market", "valley", "old town")


@dataclass(frozen=True)
class Project:
    app: App
    url: str
    folder: Path
    weights: Path

    def ask(
        self, method: str, path: str, value: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        body = None if value is None else json.dumps(value).encode()
        fields = {"content-type": "application/json", **(headers or {})}
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        assert response.status in (200, 201, 202), content
        return json.loads(content)

    def wait(self, path: str, ended: Callable[[Any], bool]) -> Any:
        deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
        while not ended(found := self.ask("GET", path)):
            assert time.monotonic() < deadline, found
            pause.wait(0.1)
        return found

    def page(self, path: str) -> str:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        connection.request("GET", path, headers={"accept": "text/html"})
        response = connection.getresponse()
        content = response.read().decode()
        connection.close()
        assert response.status == 200, content
        return content

    def files_with(self, mark: str) -> list[str]:
        """Files of the project and of the version's folder that hold a text."""
        places = [self.folder / ".inhouse", *self.weights.rglob(f"{TASK}*")]
        paths = [path for place in places for path in place.rglob("*") if path.is_file()]
        return [path.name for path in paths if mark.encode() in path.read_bytes()]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, weights_store: Path) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    with ScriptedUpstream({"any": "warm"}) as upstream:
        (folder / "inhouse.toml").write_text(
            f'[store]\npath = "{weights_store}"\n'
            f'[upstreams.local]\nbase_url = "{upstream.base_url}"\n'
            f'[tasks.{TASK}]\nkind = "choice"\nlabels = ["cold", "warm"]\n'
            'prompt = "Is it cold or warm? {{ input }}"\nchain = ["local/any"]\n'
        )
        app = bootstrap(load_settings(folder, {}))
        with serve_in_thread(app) as handle:
            yield Project(app, handle.url, folder, weights_store)


def asked(project: Project) -> list[str]:
    """Calls of ann's, whose texts hold the mark, and of bob's, all of them corrected."""
    anns = []
    for label, words in (("warm", WARM), ("cold", COLD)):
        for word in words:
            for number, place in enumerate(PLACES):
                is_anns = number % 2 == 0
                name = f" {MARK} " * 40 if is_anns else ""
                answer = project.ask(
                    "POST",
                    f"/v1/tasks/{TASK}/run",
                    {
                        "input": f"A {word} morning at the {place}.{name}",
                        "subject": ANN if is_anns else "bob",
                        "unit": f"{'ann' if is_anns else 'bob'}-{word}-{place}",
                        "tags": {"note": f"{MARK} tag"} if is_anns else {},
                    },
                    {"idempotency-key": f"{word} {place}"},
                )
                made = answer["interaction_id"]
                said = {"interaction_id": made, "kind": "correction", "value": label}
                project.ask("POST", "/v1/feedback", {**said, "author": "eve"})
                if is_anns:
                    said = {"interaction_id": made, "kind": "comment", "value": f"{MARK} said"}
                    project.ask("POST", "/v1/feedback", said)
                    anns.append(made)
    project.app.recorder.flush()
    return anns


def test_a_subject_is_erased_from_call_to_version(project: Project) -> None:
    anns = asked(project)
    frozen = project.ask("POST", "/v1/datasets", {"task": TASK})
    run = project.ask("POST", "/v1/training/runs", {"task": TASK, "settings": {"threads": 1}})
    ran = project.wait(
        f"/v1/training/runs/{run['id']}", lambda one: one["status"] in ("succeeded", "failed")
    )
    assert ran["status"] == "succeeded", ran
    project.wait("/v1/jobs", lambda jobs: all(job["finished_at"] for job in jobs))
    number = project.ask("GET", f"/v1/versions?task={TASK}")[0]["number"]
    reference = f"{TASK}@{number}"

    back = project.ask("GET", f"/v1/lineage/interactions/{anns[0]}")
    assert back["uses"][0]["snapshot"]["id"] == frozen["id"]
    assert back["uses"][0]["runs"][0]["version"]["reference"] == reference
    made_of = project.ask("GET", f"/v1/lineage/versions/{TASK}/{number}?limit=500")
    assert {one["call"]["id"] for one in made_of["calls"]} >= set(anns)
    assert project.files_with(MARK)
    assert "What learned from it" in project.page(f"/interactions/{anns[0]}")
    assert "The newest calls that it learned from" in project.page(f"/versions/{TASK}/{number}")
    held = project.ask("GET", f"/v1/subjects/{quote(ANN, safe='')}")
    assert held["interactions"] == len(anns) == 24

    job = project.ask("DELETE", f"/v1/subjects/{quote(ANN, safe='')}")
    done = project.wait(f"/v1/jobs/{job['id']}", lambda one: one["finished_at"])
    assert done["error"] is None
    assert done["result"]["versions"] == [reference]
    assert done["result"]["log_emptied"] is True
    (erased,) = project.ask("GET", "/v1/erasures")
    assert erased["counts"] == {
        "interactions": 24,
        "feedback": 48,
        "imported": 0,
        "examples": 24,
    }
    assert project.files_with(MARK) == []
    assert ANN not in json.dumps(project.ask("GET", "/v1/jobs"))

    again = project.ask("POST", "/v1/datasets", {"task": TASK})
    assert again["content_hash"] != frozen["content_hash"]
    assert project.ask("GET", f"/v1/lineage/versions/{TASK}/{number}")["snapshot"]["erased"] == 24
    assert project.ask("GET", f"/v1/lineage/interactions/{anns[0]}")["uses"][0]["erased"] is True
    for path in (
        f"/interactions/{anns[0]}",
        "/interactions",
        f"/datasets/{frozen['id']}",
        f"/versions/{TASK}/{number}",
    ):
        assert MARK not in project.page(path)


def test_the_command_line_tells_and_erases(project: Project) -> None:
    answer = project.ask(
        "POST",
        f"/v1/tasks/{TASK}/run",
        {"input": f"{MARK} again", "subject": "carl", "unit": "article-42"},
    )
    project.app.recorder.flush()
    set_folder(project.folder)
    runner, made = CliRunner(), answer["interaction_id"]
    who = runner.invoke(routes_cli.app, ["who", TASK, "--unit", "article-42"])
    assert who.exit_code == 0, who.output
    assert "local/any as incumbent" in who.output
    assert made in who.output
    told = runner.invoke(interactions_cli.app, ["lineage", made])
    assert told.exit_code == 0, told.output
    assert "no snapshot holds an example of it" in told.output
    purged = runner.invoke(interactions_cli.app, ["purge", "--subject", "carl"], input="y\n")
    assert purged.exit_code == 0, purged.output
    assert "1 call and 0 imported examples" in purged.output
    assert "erased " in purged.output
    assert "interactions 1" in purged.output
    assert project.files_with(MARK) == []
    listed = json.loads(runner.invoke(interactions_cli.app, ["erasures", "--json"]).stdout)
    assert listed[0]["counts"]["interactions"] == 1
    old = ["purge", "--before", "2020-01-01", "--yes", "--json"]
    nothing = json.loads(runner.invoke(interactions_cli.app, old).stdout)
    assert nothing["erasure"]["counts"]["interactions"] == 0
    refused = runner.invoke(interactions_cli.app, ["purge", "--yes"])
    assert refused.exit_code != 0
    version = runner.invoke(versions_cli.app, ["lineage", f"{TASK}@1"])
    assert version.exit_code == 0, version.output


def test_an_operator_looks_and_only_an_admin_erases(project: Project) -> None:
    """The last test of the module: from here on the server asks for keys."""
    with project.app.database.write() as unit:
        made = {
            role: keys.create(unit, role.value, role, project.app.clock.now())[1]
            for role in keys.Role
        }
    project.app.keys.refresh()

    def status(method: str, role: keys.Role) -> int:
        connection = http.client.HTTPConnection(project.url.removeprefix("http://"), timeout=60)
        headers = {"authorization": f"Bearer {made[role]}"}
        connection.request(method, "/v1/subjects/nobody", headers=headers)
        found = connection.getresponse().status
        connection.close()
        return found

    looking = {role.value: status("GET", role) for role in keys.Role}
    erasing = {role.value: status("DELETE", role) for role in keys.Role}
    assert {role for role, code in looking.items() if code == 200} == {"operator", "admin"}
    assert {role for role, code in erasing.items() if code == 202} == {"admin"}
    assert {*looking.values(), *erasing.values()} == {200, 202, 403}
