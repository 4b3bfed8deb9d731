"""Publishing: what is refused, what is stored, what is shared, what a failure leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inhouse.core.errors import Conflict, Corrupt, Invalid, NotFound
from inhouse.store.manifest import Draft, Manifest, VariantSpec
from inhouse.store.publish import Published
from inhouse.store.store import ModelStore
from inhouse.testing.clock import FrozenClock

ONNX = VariantSpec(id="onnx-fp32", format="onnx", dtype="fp32", files=("model.onnx",))
DRAFT = Draft(kind="encoder", license="Apache-2.0", variants=(ONNX,), metadata={"labels": ["up"]})
FILES = {"model.onnx": b"\x08\x08weights", "1_Pooling/config.json": b"{}", "vocab.txt": b"a\nb\n"}


@pytest.fixture
def store(tmp_path: Path, clock: FrozenClock) -> ModelStore:
    return ModelStore(tmp_path / "store", clock)


def put(
    store: ModelStore,
    files: dict[str, bytes] = FILES,
    *,
    name: str = "sentiment",
    draft: Draft = DRAFT,
    check: Callable[[Path, Manifest], None] | None = None,
) -> Published:
    with store.stage(name) as staging:
        for path, data in files.items():
            (staging.path / path).parent.mkdir(parents=True, exist_ok=True)
            (staging.path / path).write_bytes(data)
        return store.publish(staging, draft, check=check)


def everything_in(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_what_is_published_resolves(store: ModelStore, clock: FrozenClock) -> None:
    made = put(store)
    seq = store.set_ref("sentiment", "current", made.version, actor="me", reason="first")
    found = store.resolve("sentiment")
    assert seq == 1
    assert (found.version, found.path) == (made.version, made.path)
    assert found.manifest_digest == made.manifest_digest == found.manifest.digest
    assert {entry.path: entry.size for entry in found.manifest.files} == {
        path: len(data) for path, data in FILES.items()
    }
    assert {path: (found.path / path).read_bytes() for path in FILES} == FILES
    assert (store.root / "models/sentiment/current").resolve() == found.path.resolve()
    assert store.verify() == []
    assert not any((store.root / "staging").iterdir())
    checked = subprocess.run(
        ["sha256sum", "--check", "manifest.sha256"], cwd=found.path, check=True, capture_output=True
    )
    assert b"manifest.json: OK" in checked.stdout


def test_the_listing_shows_refs_and_damage(store: ModelStore, clock: FrozenClock) -> None:
    first = put(store)
    clock.advance(1)
    second = put(store)
    store.set_ref("sentiment", "current", second.version, actor="me", reason="")
    store.set_ref("sentiment", "canary", second.version, actor="me", reason="")
    (first.path / "manifest.json").write_bytes(b"{}")
    old, new = store.list()
    assert (old.version, old.refs, old.manifest) == (first.version, (), None)
    assert "manifest.json: digest" in old.problem
    assert (new.version, new.refs, new.problem) == (second.version, ("canary", "current"), "")
    assert new.bytes == sum(map(len, FILES.values()))


def test_the_same_content_takes_room_once(store: ModelStore, clock: FrozenClock) -> None:
    first = put(store)
    blobs = everything_in(store.root / "blobs")
    clock.advance(1)
    second = put(store)
    assert second.version != first.version
    assert second.version[-8:] == first.version[-8:]
    assert len(everything_in(store.root / "blobs") - blobs) == 1, "only the new manifest"
    for path in FILES:
        status = (second.path / path).stat()
        assert status.st_ino == (first.path / path).stat().st_ino
        assert (status.st_nlink, status.st_mode & 0o777) == (3, 0o444)


def test_the_same_content_in_the_same_second_is_the_same_version(store: ModelStore) -> None:
    assert put(store) == put(store)
    assert len(store.versions("sentiment")) == 1
    assert [line["event"] for line in journal(store)] == ["publish"]


def journal(store: ModelStore) -> list[dict[str, object]]:
    return [json.loads(line) for line in (store.root / "journal.ndjson").read_text().splitlines()]


def test_without_hard_links_files_are_copied(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    made = put(store)
    assert (made.path / "model.onnx").stat().st_nlink == 1
    assert store.verify() == []
    assert store.resolve("sentiment", made.version).path == made.path


def test_a_file_that_others_hold_is_copied(store: ModelStore, tmp_path: Path) -> None:
    mine = tmp_path / "model.onnx"
    mine.write_bytes(FILES["model.onnx"])
    with store.stage("sentiment") as staging:
        (staging.path / "model.onnx").hardlink_to(mine)
        made = store.publish(staging, DRAFT)
    mine.write_bytes(b"something else")
    assert (made.path / "model.onnx").read_bytes() == FILES["model.onnx"]
    assert store.verify() == []


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("pytorch_model.bin", b"anything"),
        ("model.pt", b""),
        ("model.PKL", b"x"),
        ("head.joblib", b"x"),
        ("vocab.txt", b"\x80\x04\x95\x10\x00"),
        ("tokenizer.model", b"PK\x03\x04rest"),
    ],
)
def test_pickles_are_refused_whatever_they_are_called(
    store: ModelStore, path: str, data: bytes
) -> None:
    with pytest.raises(Invalid) as refused:
        put(store, {**FILES, path: data})
    assert refused.value.code == "pickle"
    assert "safetensors" in refused.value.hint
    assert everything_in(store.root) == {"store.json"}


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("modeling.py", b"import os"),
        ("LICENSE", b"text"),
        ("model.gguf", b"GGML"),
        ("model.safetensors", b"\xff" * 20),
        ("model.safetensors", b"\x02\0\0\0\0\0\0\0[]"),
        ("model.safetensors", b"\x10"),
    ],
)
def test_other_formats_are_refused(store: ModelStore, path: str, data: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        put(store, {**FILES, path: data})
    assert refused.value.code == "file-format"


@pytest.mark.parametrize("path", ["a b.json", "manifest.json", "ä.json"])
def test_paths_that_a_version_may_not_hold_are_refused(store: ModelStore, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        put(store, {**FILES, path: b"{}"})
    assert refused.value.code == "file-path"


def test_links_and_nothing_are_refused(store: ModelStore) -> None:
    with store.stage("sentiment") as staging:
        with pytest.raises(Invalid, match="no file"):
            store.publish(staging, DRAFT)
        (staging.path / "config.json").symlink_to("/etc/hostname")
        with pytest.raises(Invalid, match="not a regular file"):
            store.publish(staging, DRAFT)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".", "..", "A", "a" * 65, "a\n"])
def test_names_that_leave_the_store_are_refused(store: ModelStore, name: str) -> None:
    made = put(store)
    for attempt in (
        lambda: store.stage(name),
        lambda: store.resolve(name),
        lambda: store.resolve("sentiment", name),
        lambda: store.versions(name),
        lambda: store.set_ref(name, "current", made.version, actor="me", reason=""),
        lambda: store.set_ref("sentiment", name, made.version, actor="me", reason=""),
        lambda: store.set_ref("sentiment", "current", f"../{name}", actor="me", reason=""),
    ):
        with pytest.raises(Invalid):
            attempt()


def test_a_refused_check_leaves_only_the_staging_folder(store: ModelStore) -> None:
    def refuse(folder: Path, manifest: Manifest) -> None:
        assert (folder / manifest.variant().files[0]).read_bytes() == FILES["model.onnx"]
        raise Invalid("the candidate does not load", code="smoke")

    staging = store.stage("sentiment")
    (staging.path / "model.onnx").write_bytes(FILES["model.onnx"])
    with pytest.raises(Invalid, match="does not load"):
        store.publish(staging, DRAFT, check=refuse)
    left = everything_in(store.root)
    assert {path.split("/")[0] for path in left} == {"store.json", "staging"}
    made = store.publish(staging, DRAFT)
    assert store.resolve("sentiment", made.version).manifest.files[0].path == "model.onnx"
    assert not staging.home.exists()


def test_a_file_that_changes_meanwhile_is_refused(store: ModelStore) -> None:
    def meddle(folder: Path, _: Manifest) -> None:
        (folder / "model.onnx").write_bytes(b"other weights")

    with pytest.raises(Conflict) as refused:
        put(store, check=meddle)
    assert refused.value.code == "staging-changed"
    assert everything_in(store.root) == {"store.json"}


def test_a_disk_that_changes_a_byte_is_found_on_reading_back(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(tree: Path) -> None:
        (tree / "model.onnx").chmod(0o644)
        (tree / "model.onnx").write_bytes(b"\x08\x09weights")

    monkeypatch.setattr("inhouse.store.publish.sync_tree", damage)
    with pytest.raises(Corrupt, match=r"reading back failed: .*model\.onnx") as refused:
        put(store)
    assert refused.value.code == "read-back"
    assert store.versions("sentiment") == []


def test_publishing_again_replaces_a_damaged_blob(store: ModelStore, clock: FrozenClock) -> None:
    first = put(store)
    weights = first.path / "model.onnx"
    weights.chmod(0o644)
    weights.write_bytes(b"\x08\x09weights")
    clock.advance(1)
    second = put(store)
    assert (store.resolve("sentiment", second.version).path / "model.onnx").read_bytes() == FILES[
        "model.onnx"
    ]
    with pytest.raises(Corrupt):
        store.resolve("sentiment", first.version)
    kept = {path.name for path in (store.root / "quarantine").iterdir()}
    assert f"sentiment@{first.version}.json" in kept
    assert len(kept) == 2, "the damaged blob and the mark of the version that still holds it"
    assert [line["event"] for line in journal(store)].count("quarantine") == 2


def test_one_of_fifty_moves_the_ref(store: ModelStore, clock: FrozenClock) -> None:
    versions = []
    for number in range(5):
        clock.advance(1)
        versions.append(put(store, {**FILES, "vocab.txt": b"%d" % number}).version)
    start = threading.Barrier(50)

    def race(number: int) -> str:
        start.wait(30)
        version = versions[number % 5]
        try:
            store.set_ref(
                "sentiment", "current", version, expect_seq=0, actor=f"t{number}", reason="race"
            )
        except Conflict as lost:
            return lost.code
        return version

    with ThreadPoolExecutor(50) as threads:
        ended = list(threads.map(race, range(50)))
    won = [version for version in ended if version != "ref-moved"]
    ref = store.read_ref("sentiment")
    assert len(won) == 1
    assert ref is not None
    assert (ref.seq, ref.version) == (1, won[0])
    assert (store.root / "models/sentiment/current").readlink().name == won[0]


def test_refs_count_their_moves_and_say_why(store: ModelStore, clock: FrozenClock) -> None:
    version = put(store).version
    assert store.read_ref("sentiment", "canary") is None
    assert store.set_ref("sentiment", "canary", version, actor="me", reason="try") == 1
    assert store.set_ref("sentiment", "canary", version, expect_seq=1, actor="me", reason="b") == 2
    with pytest.raises(Conflict, match="is at 2, not at 1"):
        store.set_ref("sentiment", "canary", version, expect_seq=1, actor="me", reason="late")
    ref = store.read_ref("sentiment", "canary")
    assert ref is not None
    assert (ref.actor, ref.reason, ref.at) == ("me", "b", clock.now())
    assert [line.get("seq") for line in journal(store)] == [None, 1, 2]
    with pytest.raises(NotFound, match="no version"):
        store.set_ref("sentiment", "canary", "20200101T000000Z-00000000", actor="m", reason="")


def test_a_torn_journal_line_stays_alone(store: ModelStore) -> None:
    put(store)
    with (store.root / "journal.ndjson").open("ab") as file:
        file.write(b'{"at": "2025')
    store.set_ref("sentiment", "current", store.versions("sentiment")[0], actor="m", reason="")
    lines = (store.root / "journal.ndjson").read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[2])["event"] == "ref"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, clock: FrozenClock) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(Invalid) as refused:
        ModelStore(tmp_path, clock)
    assert refused.value.code == "store-foreign"
    assert everything_in(tmp_path) == {"thesis.doc"}


@pytest.mark.parametrize(
    ("text", "error", "code"),
    [
        ('{"layout":2,"hash":"sha256","id":"x"}', Invalid, "store-layout"),
        ('{"layout":1,"hash":"blake3","id":"x"}', Invalid, "store-layout"),
        ("{", Corrupt, "store-description"),
        ("[]", Corrupt, "store-description"),
    ],
)
def test_another_layout_is_refused(
    tmp_path: Path, clock: FrozenClock, text: str, error: type[Exception], code: str
) -> None:
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(error) as refused:
        ModelStore(tmp_path, clock)
    assert getattr(refused.value, "code", "") == code


def test_many_may_create_the_store_at_once(tmp_path: Path, clock: FrozenClock) -> None:
    start = threading.Barrier(16)

    def create(_: int) -> bytes:
        start.wait(30)
        ModelStore(tmp_path / "a" / "store", clock)
        return (tmp_path / "a/store/store.json").read_bytes()

    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(create, range(16)))) == 1
    assert everything_in(tmp_path / "a/store") == {"store.json"}


def test_prune_takes_only_what_the_dead_left(store: ModelStore) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from inhouse.core.clock import SystemClock; from inhouse.store.store import ModelStore\n"
        "staging = ModelStore(Path(sys.argv[1]), SystemClock()).stage('sentiment')\n"
        "(staging.path / 'model.onnx').write_bytes(b'x' * 1000)\n"
        "print(staging.home.name, flush=True); os._exit(9)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(store.root)], capture_output=True, text=True, check=False
    )
    dead = store.root / "staging" / ended.stdout.strip()
    mine = store.stage("sentiment")
    unnamed = store.root / "staging" / "just-made"
    unnamed.mkdir()
    listed = store.prune(dry_run=True)
    assert [each.path for each in listed] == [dead]
    assert listed[0].bytes >= 1000
    assert "has ended" in listed[0].reason
    assert dead.exists()
    assert store.prune(dry_run=False) == listed
    assert sorted((store.root / "staging").iterdir()) == sorted([mine.home, unnamed])
