"""A damaged version is refused at once, an earlier one serves, and nothing is deleted."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from inhouse.core.errors import Corrupt, NotFound
from inhouse.store.manifest import Draft, VariantSpec
from inhouse.store.publish import Published
from inhouse.store.store import ModelStore
from inhouse.testing.clock import FrozenClock

ONNX = VariantSpec(id="onnx-fp32", format="onnx", dtype="fp32", files=("model.onnx",))
DRAFT = Draft(kind="base", license="MIT", variants=(ONNX,))


@pytest.fixture
def store(tmp_path: Path, clock: FrozenClock) -> ModelStore:
    return ModelStore(tmp_path / "store", clock)


def put(store: ModelStore, clock: FrozenClock, seed: int, *, release: bool = True) -> Published:
    clock.advance(60)
    with store.stage("base") as staging:
        (staging.path / "model.onnx").write_bytes(b"\x08" + random.Random(seed).randbytes(2000))
        (staging.path / "config.json").write_bytes(b'{"seed": %d}' % seed)
        made = store.publish(staging, DRAFT)
    if release:
        store.set_ref("base", "current", made.version, actor="me", reason="")
    return made


def flip(path: Path, offset: int) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def count(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"model": "base"}) or 0.0


def test_serving_falls_back_to_what_was_current_before(
    store: ModelStore, clock: FrozenClock
) -> None:
    oldest, older = put(store, clock, 1), put(store, clock, 2)
    put(store, clock, 3, release=False)
    newest = put(store, clock, 4)
    before = count("inhouse_store_fallbacks_total")
    flip(newest.path / "model.onnx", 77)
    found = store.resolve("base")
    assert found.version == older.version, "a version that never was current is not served"
    for part in ("base", newest.version, "model.onnx", "expected sha256:", "found sha256:"):
        assert part in found.instead_of
    flip(older.path / "manifest.json", 3)
    assert ModelStore(store.root, clock).resolve("base").version == oldest.version
    assert count("inhouse_store_fallbacks_total") == before + 2
    flip(oldest.path / "config.json", 0)
    with pytest.raises(Corrupt) as refused:
        store.resolve("base")
    assert newest.version in refused.value.message, "the error is that of the version asked for"
    assert len(store.quarantined()) == 3
    assert read_ref(store) == newest.version, "the ref stays for a person to decide"


def read_ref(store: ModelStore) -> str:
    ref = store.read_ref("base")
    assert ref is not None
    return ref.version


def test_only_current_falls_back(store: ModelStore, clock: FrozenClock) -> None:
    put(store, clock, 1)
    newest = put(store, clock, 2)
    store.set_ref("base", "canary", newest.version, actor="me", reason="")
    flip(newest.path / "model.onnx", 77)
    for asked in ("canary", newest.version):
        with pytest.raises(Corrupt, match=r"model\.onnx: digest"):
            store.resolve("base", asked)


def test_a_mark_says_what_was_found_and_deletes_nothing(
    store: ModelStore, clock: FrozenClock
) -> None:
    made = put(store, clock, 1)
    flip(made.path / "model.onnx", 9)
    damaged = (made.path / "model.onnx").read_bytes()
    with pytest.raises(Corrupt):
        store.resolve("base")
    (mark,) = store.quarantined()
    (finding,) = mark.findings
    assert (mark.name, mark.version, mark.at) == ("base", made.version, clock.now())
    assert (finding.file, finding.problem) == ("model.onnx", "digest")
    assert finding.expected != finding.actual
    assert (made.path / "model.onnx").read_bytes() == damaged
    (entry,) = store.list()
    assert entry.quarantined
    assert entry.problem == finding.message
    events = (store.root / "journal.ndjson").read_text().splitlines()
    assert json.loads(events[-1])["reason"] == finding.message


def test_a_version_in_quarantine_is_not_read_again(
    store: ModelStore, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = put(store, clock, 1)
    flip(made.path / "model.onnx", 9)
    with pytest.raises(Corrupt):
        store.resolve("base", made.version)
    monkeypatch.setattr("inhouse.store.examine.sha256_file", None)
    for again in (store, ModelStore(store.root, clock)):
        with pytest.raises(Corrupt, match=r"model\.onnx: digest.*; in quarantine"):
            again.resolve("base", made.version)


def test_a_mark_is_lifted_only_from_a_whole_version(store: ModelStore, clock: FrozenClock) -> None:
    made = put(store, clock, 1)
    with pytest.raises(NotFound, match="is not in quarantine"):
        store.lift("base", made.version)
    flip(made.path / "model.onnx", 9)
    with pytest.raises(Corrupt):
        store.resolve("base")
    with pytest.raises(Corrupt, match="it stays in quarantine"):
        store.lift("base", made.version)
    flip(made.path / "model.onnx", 9)
    (finding,) = store.verify()
    assert (finding.problem, finding.version) == ("quarantined", made.version)
    with pytest.raises(Corrupt, match="in quarantine"):
        store.resolve("base")
    store.lift("base", made.version)
    assert store.resolve("base").version == made.version
    assert store.verify() == []


def test_a_mark_that_cannot_be_read_is_a_mark(store: ModelStore, clock: FrozenClock) -> None:
    made = put(store, clock, 1)
    (store.root / "quarantine").mkdir()
    (store.root / f"quarantine/base@{made.version}.json").write_text("{")
    with pytest.raises(Corrupt, match="quarantine"):
        store.resolve("base")


def test_what_may_pass_by_itself_is_not_marked(
    store: ModelStore, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = put(store, clock, 1)

    def refuse(_: Path) -> str:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("inhouse.store.examine.sha256_file", refuse)
        with pytest.raises(Corrupt, match="Too many open files"):
            ModelStore(store.root, clock).resolve("base")
    assert store.quarantined() == []
    assert store.resolve("base").version == made.version


def test_a_mark_that_cannot_be_written_refuses_all_the_same(
    store: ModelStore, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newest = put(store, clock, 1), put(store, clock, 2)
    flip(newest.path / "model.onnx", 9)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inhouse.store.quarantine.replace_file", refuse)
    assert store.resolve("base").version == older.version
    assert store.quarantined() == []


def test_one_flipped_byte_in_any_file_of_any_version_is_scrubbed(
    store: ModelStore, clock: FrozenClock
) -> None:
    versions = [put(store, clock, seed) for seed in range(3)]
    rng = random.Random(20251123)
    read: list[int] = []
    for made in versions:
        for path in sorted(each for each in made.path.iterdir()):
            offset = rng.randrange(path.stat().st_size)
            flip(path, offset)
            found = [each for each in store.scrub(pause=read.append) if each.model]
            assert {(each.version, each.problem) for each in found} == {(made.version, "digest")}
            assert [mark.version for mark in store.quarantined()] == [made.version]
            flip(path, offset)
            store.lift("base", made.version)
            heal_blobs(store)
    assert store.verify() == []
    assert read


def heal_blobs(store: ModelStore) -> None:
    """What the scrub moved aside is whole again, for it was the same file."""
    for path in (store.root / "quarantine").iterdir():
        digest = path.name.partition("-")[0]
        path.rename(store.root / "blobs/sha256" / digest[:2] / digest)


def test_a_scrub_stops_when_its_pause_says_so(store: ModelStore, clock: FrozenClock) -> None:
    put(store, clock, 1)

    class Enough(Exception):
        pass

    def stop(_: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        store.scrub(pause=stop)
    assert store.verify() == []


def test_a_ref_to_a_version_that_is_gone_falls_back(store: ModelStore, clock: FrozenClock) -> None:
    older, newest = put(store, clock, 1), put(store, clock, 2)
    shutil.rmtree(newest.path)
    found = store.resolve("base")
    assert found.version == older.version
    assert "which is not there" in found.instead_of
