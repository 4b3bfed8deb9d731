"""Backup and restore: verified copies, and the way back for what was damaged or lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from inhouse.core.errors import Corrupt, Invalid, NotFound
from inhouse.store.manifest import Draft, VariantSpec
from inhouse.store.publish import Published
from inhouse.store.store import ModelStore
from inhouse.testing.clock import FrozenClock

ONNX = VariantSpec(id="onnx-fp32", format="onnx", dtype="fp32", files=("model.onnx",))
DRAFT = Draft(kind="base", license="MIT", variants=(ONNX,))
SIZE = 5


@pytest.fixture
def store(tmp_path: Path, clock: FrozenClock) -> ModelStore:
    return ModelStore(tmp_path / "store", clock)


@pytest.fixture
def made(store: ModelStore, clock: FrozenClock) -> list[Published]:
    return [put(store, clock, seed) for seed in range(2)]


def put(store: ModelStore, clock: FrozenClock, seed: int) -> Published:
    clock.advance(60)
    with store.stage("base") as staging:
        (staging.path / "a").mkdir()
        (staging.path / "model.onnx").write_bytes(b"\x08%d" % seed)
        (staging.path / "a/vocab.txt").write_bytes(b"all")
        published = store.publish(staging, DRAFT)
    store.set_ref("base", "current", published.version, actor="me", reason=f"seed {seed}")
    return published


def damage(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"\x08?")


def test_a_backup_is_a_store_of_its_own(
    store: ModelStore, made: list[Published], tmp_path: Path, clock: FrozenClock
) -> None:
    steps: list[tuple[str, int, int]] = []
    done = store.backup(tmp_path / "b", actor="me", progress=lambda *step: steps.append(step))
    assert done.versions == [f"base@{each.version}" for each in made]
    assert (done.refs, done.failures) == ([f"base: current -> {made[1].version}"], [])
    assert done.bytes == 2 * SIZE
    assert [step[1:] for step in steps] == [(1, 2), (2, 2)]
    copy = ModelStore(tmp_path / "b", clock)
    assert copy.verify() == []
    assert copy.resolve("base").manifest == store.resolve("base").manifest
    damage(made[0].path / "a/vocab.txt")
    assert copy.verify() == [], "no byte is shared with the original"


def test_a_second_backup_copies_what_is_new_and_moves_refs(
    store: ModelStore, made: list[Published], tmp_path: Path, clock: FrozenClock
) -> None:
    store.backup(tmp_path / "b", actor="me")
    newest = put(store, clock, 7)
    done = store.backup(tmp_path / "b", actor="me")
    assert (done.versions, done.present) == ([f"base@{newest.version}"], 2)
    assert ModelStore(tmp_path / "b", clock).resolve("base").version == newest.version
    again = store.backup(tmp_path / "b", actor="me")
    assert (again.versions, again.refs, again.present) == ([], [], 3)


def test_damage_on_either_side_is_a_failure_that_names_it(
    store: ModelStore, made: list[Published], tmp_path: Path, clock: FrozenClock
) -> None:
    store.backup(tmp_path / "b", actor="me")
    copy = ModelStore(tmp_path / "b", clock)
    damage(copy.resolve("base", made[0].version).path / "model.onnx")
    (failure,) = store.backup(tmp_path / "b", actor="me").failures
    assert failure.startswith(f"the copy is damaged: base@{made[0].version}: model.onnx: digest")
    damage(made[1].path / "model.onnx")
    done = store.backup(tmp_path / "c", actor="me")
    assert done.versions == [f"base@{made[0].version}"]
    assert done.failures[0].startswith(f"base@{made[1].version}: model.onnx: digest: expected")
    assert done.failures[1] == f"ref current of base: {made[1].version} was not copied"


def test_what_was_damaged_or_lost_comes_back(
    store: ModelStore, made: list[Published], tmp_path: Path
) -> None:
    store.backup(tmp_path / "b", actor="me")
    damage(made[0].path / "model.onnx")
    shutil.rmtree(made[1].path)
    with pytest.raises(Corrupt):
        store.resolve("base")
    assert len(store.quarantined()) == 1
    done = store.restore(tmp_path / "b", actor="me")
    assert done.versions == [f"base@{each.version}" for each in made]
    assert done.failures == []
    assert store.quarantined() == []
    assert store.resolve("base").version == made[1].version
    assert store.verify() == []
    kept = list((store.root / "quarantine").glob("base@*"))
    assert [(path / "model.onnx").read_bytes() for path in kept] == [b"\x08?"]


def test_a_restore_leaves_whole_refs_where_they_are(
    store: ModelStore, made: list[Published], tmp_path: Path
) -> None:
    store.backup(tmp_path / "b", actor="me")
    store.set_ref("base", "current", made[0].version, actor="me", reason="back")
    assert store.restore(tmp_path / "b", actor="me").refs == []
    assert store.resolve("base").version == made[0].version
    (store.root / "models/base/refs/current.json").write_text("{")
    done = store.restore(tmp_path / "b", actor="me")
    assert done.refs == [f"base: current -> {made[1].version}"]


def test_an_empty_store_is_restored_whole(
    store: ModelStore, made: list[Published], tmp_path: Path, clock: FrozenClock
) -> None:
    store.backup(tmp_path / "b", actor="me")
    fresh = ModelStore(tmp_path / "fresh", clock)
    assert len(fresh.restore(tmp_path / "b", actor="me").versions) == 2
    assert fresh.resolve("base").manifest_digest == made[1].manifest_digest


def test_a_copy_that_comes_out_wrong_is_never_visible(
    store: ModelStore, made: list[Published], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(source: Path, target: Path, *, scratch: Path) -> None:
        target.write_bytes(b"\x08!")

    monkeypatch.setattr("inhouse.store.copies.copy_file", wrong)
    done = store.backup(tmp_path / "b", actor="me")
    assert done.versions == []
    assert "the copy is damaged: expected sha256:" in done.failures[0]
    assert not (tmp_path / "b/models/base/versions").exists()


def test_other_folders_are_refused(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("mine")
    with pytest.raises(Invalid, match="holds no store"):
        store.backup(tmp_path / "other", actor="me")
    with pytest.raises(NotFound, match="holds no model store"):
        store.restore(tmp_path / "other", actor="me")
