"""``inhouse store``: what its commands print, in words and as JSON, and how they exit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from inhouse.cli.store import app
from inhouse.core.errors import Conflict, Corrupt, InhouseError, Invalid
from inhouse.db.unit import Database
from inhouse.jobs.worker import Worker
from inhouse.registry.upkeep import SCRUB, Scrub
from inhouse.registry.versions import register
from inhouse.store.manifest import Draft, VariantSpec
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog
from inhouse.testing.clock import FrozenClock

DRAFT = Draft(
    kind="encoder",
    license="MIT",
    variants=(VariantSpec(id="onnx-fp32", format="onnx", dtype="fp32", files=("model.onnx",)),),
)


class Product:
    """The part of the wired App that these commands use."""

    def __init__(self, store: ModelStore, database: Database, clock: FrozenClock) -> None:
        self.store, self.database, self.clock = store, database, clock
        self.catalog = Catalog({})

    def make_worker(self, threads: int) -> Worker:
        handlers = {SCRUB: Scrub(self.database, self.store)}
        return Worker(self.database, handlers, clock=self.clock, name="here", threads=threads)


class Context:
    """The part of the command line's context that these commands use."""

    actor = "me"

    def __init__(self, app: Product) -> None:
        self.app, self.store = app, app.store

    def print_json(self, value: Any) -> None:
        print(msgspec.json.encode(value).decode())


@pytest.fixture
def store(
    tmp_path: Path,
    clock: FrozenClock,
    sqlite_database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> ModelStore:
    store = ModelStore(tmp_path / "store", clock)
    context = Context(Product(store, sqlite_database, clock))
    module = ModuleType("inhouse.cli.context")
    module.open_context = lambda: context  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "inhouse.cli.context", module)
    return store


@pytest.fixture
def version(store: ModelStore) -> str:
    with store.stage("sentiment") as staging:
        (staging.path / "model.onnx").write_bytes(b"\x08weights")
        made = store.publish(staging, DRAFT)
    store.set_ref("sentiment", "current", made.version, actor="me", reason="")
    return made.version


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, InhouseError):
        raise result.exception
    return result.exit_code, result.output


def test_list(store: ModelStore, version: str) -> None:
    code, words = run("list")
    assert (code, words.split()[:4]) == (0, ["sentiment", version, "current", "encoder"])
    row = json.loads(run("list", "--json")[1])[0]
    assert (row["name"], row["version"], row["refs"]) == ("sentiment", version, ["current"])
    assert (row["bytes"], row["variants"], row["problem"]) == (8, ["onnx-fp32"], "")
    assert row["manifest_digest"].startswith("sha256:")


def test_list_of_nothing_says_what_to_do(store: ModelStore) -> None:
    assert "store publish --from wheel:" in run("list")[1]
    assert json.loads(run("list", "--json")[1]) == []


def test_verify_exits_1_for_a_finding(store: ModelStore, version: str) -> None:
    assert run("verify", f"sentiment@{version}") == (0, "everything is as it was published\n")
    assert json.loads(run("verify", "--json")[1]) == {
        "ok": True,
        "findings": [],
        "leftovers": [],
    }
    (store.root / "models/sentiment/versions" / version / "model.onnx").unlink()
    code, words = run("verify")
    assert code == 1
    assert f"sentiment@{version}: model.onnx: missing" in words
    code, text = run("verify", "sentiment", "--json")
    assert code == 1
    assert json.loads(text)["findings"][0]["message"] == f"sentiment@{version}: model.onnx: missing"


def test_publish_refuses_other_sources(store: ModelStore) -> None:
    with pytest.raises(Invalid) as refused:
        run("publish", "--from", "https://example.org/model")
    assert "wheel:NAME" in refused.value.hint
    with pytest.raises(Invalid, match="not a wheel that can be imported"):
        run("publish", "--from", "wheel:left-pad")


def test_prune_lists_before_it_removes(store: ModelStore, clock: FrozenClock) -> None:
    home = store.root / "staging" / "abandoned"
    home.mkdir(parents=True)
    clock.advance(40 * 365 * 86400)
    assert "1 things would be removed" in run("prune", "--dry-run")[1]
    assert [row["path"] for row in json.loads(run("prune", "--json")[1])] == [str(home)]
    assert run("prune")[1] == "0 things removed, 0.0 MB freed\n"


def test_prune_takes_old_versions_that_nothing_refers_to(
    store: ModelStore, version: str, clock: FrozenClock
) -> None:
    clock.advance(60)
    with store.stage("sentiment") as staging:
        (staging.path / "model.onnx").write_bytes(b"\x08newer")
        newer = store.publish(staging, DRAFT).version
    clock.advance(10 * 86400)
    assert run("prune", "--keep", "0", "--grace", "30")[1].startswith("0 things")
    words = run("prune", "--keep", "0", "--dry-run")[1]
    assert f"version  sentiment@{newer}" in words
    assert "nothing refers to it" in words
    assert run("prune", "--keep", "0")[0] == 0
    assert store.versions("sentiment") == [version]


def test_a_scrub_quarantines_and_exits_1(store: ModelStore, version: str) -> None:
    assert "is done: 0 findings" in run("scrub", "--wait")[1]
    assert "nothing is in quarantine" in run("quarantine", "list")[1]
    weights = store.root / "models/sentiment/versions" / version / "model.onnx"
    weights.chmod(0o644)
    weights.write_bytes(b"\x08Weights")
    code, words = run("scrub", "--rate", "1000", "--wait")
    assert code == 1
    assert f"sentiment@{version}: model.onnx: digest: expected sha256:" in words
    assert f"sentiment@{version}: model.onnx" in run("quarantine", "list")[1]
    (mark,) = json.loads(run("quarantine", "list", "--json")[1])
    assert mark["findings"][0]["problem"] == "digest"
    with pytest.raises(Corrupt, match="it stays in quarantine"):
        run("quarantine", "lift", f"sentiment@{version}")
    weights.write_bytes(b"\x08weights")
    assert "is out of quarantine" in run("quarantine", "lift", f"sentiment@{version}")[1]
    assert store.resolve("sentiment").version == version


def test_a_second_scrub_is_refused_while_one_is_queued(store: ModelStore) -> None:
    assert "is queued" in run("scrub")[1]
    with pytest.raises(Conflict, match="is queued"):
        run("scrub", "--wait")


def test_backup_and_restore(store: ModelStore, version: str, tmp_path: Path) -> None:
    code, words = run("backup", str(tmp_path / "backup"))
    assert code == 0
    assert f"sentiment@{version}" in words
    assert "1 versions copied" in words
    (store.root / "models/sentiment/versions" / version / "model.onnx").unlink()
    code, text = run("restore", str(tmp_path / "backup"), "--json")
    assert code == 0
    assert json.loads(text)["versions"] == [f"sentiment@{version}"]
    assert run("verify")[0] == 0


def test_verify_misses_registered_versions(
    store: ModelStore, sqlite_database: Database, clock: FrozenClock
) -> None:
    with sqlite_database.write() as unit:
        register(
            unit,
            task="sentiment",
            task_revision="r",
            artifact="sentiment",
            store_version="20260101T000000Z-0badcafe",
            manifest_digest="sha256:00",
            recipe="encoder-head.v1",
            run_id=None,
            snapshot_id=None,
            at=clock.now(),
        )
    code, words = run("verify")
    assert code == 1
    assert (
        "sentiment@20260101T000000Z-0badcafe: manifest.json: missing "
        "(registered as sentiment@1)" in words
    )
