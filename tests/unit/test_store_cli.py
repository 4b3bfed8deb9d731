"""``inhouse store``: what its commands print, in words and as JSON, and how they exit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from inhouse.cli.store import app
from inhouse.core.errors import InhouseError, Invalid
from inhouse.store.manifest import Draft, VariantSpec
from inhouse.store.store import ModelStore
from inhouse.testing.clock import FrozenClock

DRAFT = Draft(
    kind="encoder",
    license="MIT",
    variants=(VariantSpec(id="onnx-fp32", format="onnx", dtype="fp32", files=("model.onnx",)),),
)


class Context:
    """The part of the command line's context that these commands use."""

    def __init__(self, store: ModelStore) -> None:
        self.store = store

    def print_json(self, value: Any) -> None:
        print(json.dumps(value))


@pytest.fixture
def store(tmp_path: Path, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    store = ModelStore(tmp_path / "store", clock)
    module = ModuleType("inhouse.cli.context")
    module.open_context = lambda: Context(store)  # type: ignore[attr-defined]
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
    assert json.loads(run("verify", "--json")[1]) == {"ok": True, "findings": []}
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
    assert "would be freed" in run("prune", "--dry-run")[1]
    assert [row["path"] for row in json.loads(run("prune", "--json")[1])] == [str(home)]
    assert run("prune")[1] == "0 folders, 0 bytes freed\n"
