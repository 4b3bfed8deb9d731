"""Verification: one flipped byte anywhere is found before the files are used, and named."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.errors import Corrupt, NotFound
from inhouse.store.manifest import Draft, VariantSpec
from inhouse.store.publish import Published
from inhouse.store.store import ModelStore

ONNX = VariantSpec(id="onnx-fp32", format="onnx", dtype="fp32", files=("model.onnx",))
DRAFT = Draft(kind="encoder", license="Apache-2.0", variants=(ONNX,))
FILES = {
    "model.onnx": random.Random(5).randbytes(3000),
    "1_Pooling/config.json": b'{"mean": true}',
    "vocab.txt": b"a\nb\n",
}


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store", SystemClock())


@pytest.fixture
def made(store: ModelStore) -> Published:
    with store.stage("sentiment") as staging:
        for path, data in FILES.items():
            (staging.path / path).parent.mkdir(exist_ok=True)
            (staging.path / path).write_bytes(data)
        published = store.publish(staging, DRAFT)
    store.set_ref("sentiment", "current", published.version, actor="me", reason="")
    return published


def flip(path: Path, offset: int, bit: int = 1) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[offset] ^= bit
    path.write_bytes(data)


@pytest.mark.parametrize("path", [*FILES, "manifest.json"])
def test_a_flipped_byte_is_found_before_serving_and_named(
    store: ModelStore, made: Published, path: str
) -> None:
    size = (made.path / path).stat().st_size
    rng = random.Random(path)
    for offset in {0, size - 1, *(rng.randrange(size) for _ in range(12))}:
        flip(made.path / path, offset)
        fresh = ModelStore(store.root, SystemClock())
        with pytest.raises(Corrupt) as found:
            fresh.resolve("sentiment")
        (finding,) = fresh.verify("sentiment", made.version)
        assert (finding.model, finding.version, finding.file) == ("sentiment", made.version, path)
        assert found.value.message == finding.message
        with pytest.raises(Corrupt, match="in quarantine"):
            store.resolve("sentiment")
        for part in ("sentiment", made.version, path, finding.expected, finding.actual):
            assert part in found.value.message
        assert len(finding.expected) == len(finding.actual) == 71
        assert finding.expected != finding.actual
        flip(made.path / path, offset)
        fresh.lift("sentiment", made.version)
    assert ModelStore(store.root, SystemClock()).resolve("sentiment").version == made.version
    assert store.verify() == []


def test_a_flipped_byte_in_the_checksum_is_found(store: ModelStore, made: Published) -> None:
    for offset in range((made.path / "manifest.sha256").stat().st_size):
        flip(made.path / "manifest.sha256", offset)
        with pytest.raises(Corrupt, match=r"manifest\.json: digest"):
            store.resolve("sentiment")
        flip(made.path / "manifest.sha256", offset)
        store.lift("sentiment", made.version)


def test_a_change_after_the_first_load_is_found(store: ModelStore, made: Published) -> None:
    weights = made.path / "model.onnx"
    store.resolve("sentiment")
    times = (weights.stat().st_atime_ns, weights.stat().st_mtime_ns)
    flip(weights, 100)
    os.utime(weights, ns=times)
    with pytest.raises(Corrupt, match=r"model\.onnx: digest"):
        store.resolve("sentiment")


def test_a_second_load_reads_no_weights(
    store: ModelStore, made: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.resolve("sentiment")
    monkeypatch.setattr("inhouse.store.examine.sha256_file", None)
    assert store.resolve("sentiment").version == made.version


def test_missing_resized_extra_and_linked_files_are_findings(
    store: ModelStore, made: Published
) -> None:
    (made.path / "1_Pooling/config.json").unlink()
    (made.path / "model.onnx").chmod(0o644)
    (made.path / "model.onnx").write_bytes(b"short")
    (made.path / "vocab.txt").unlink()
    (made.path / "vocab.txt").symlink_to("model.onnx")
    (made.path / "surprise.json").write_text("{}")
    problems = {each.file: each.problem for each in store.verify("sentiment")}
    assert problems == {
        "1_Pooling/config.json": "missing",
        "model.onnx": "size",
        "vocab.txt": "unreadable",
        "surprise.json": "extra",
    }
    with pytest.raises(Corrupt, match="and 3 more"):
        store.resolve("sentiment")


def test_a_lost_manifest_is_a_finding(store: ModelStore, made: Published) -> None:
    (made.path / "manifest.sha256").unlink()
    (finding,) = store.verify("sentiment", made.version)
    assert (finding.problem, finding.detail) == ("missing", "there is no manifest.sha256")


def test_a_version_under_another_name_is_a_finding(store: ModelStore, made: Published) -> None:
    moved = store.root / "models/other/versions" / made.version
    moved.parent.mkdir(parents=True)
    shutil.copytree(made.path, moved)
    (finding,) = store.verify("other")
    assert finding.problem == "manifest"
    assert f"it describes sentiment@{made.version}" in finding.message


def test_any_flipped_byte_of_a_ref_is_found(store: ModelStore, made: Published) -> None:
    ref = store.root / "models/sentiment/refs/current.json"
    for offset in range(ref.stat().st_size):
        flip(ref, offset)
        with pytest.raises(Corrupt) as found:
            store.read_ref("sentiment")
        assert found.value.code == "ref"
        (finding,) = store.verify("sentiment")
        assert (finding.model, finding.file, finding.problem) == (
            "sentiment",
            "refs/current.json",
            "ref",
        )
        assert store.resolve("sentiment").version == made.version, "the journal knows it"
        flip(ref, offset)
    assert store.verify() == []


def test_a_damaged_ref_is_set_again_with_its_number(store: ModelStore, made: Published) -> None:
    ref = store.root / "models/sentiment/refs/current.json"
    flip(ref, 5)
    assert store.set_ref("sentiment", "current", made.version, actor="me", reason="again") == 2
    assert store.verify() == []
    kept = [path.name for path in (store.root / "quarantine").iterdir()]
    assert [name.partition("-")[0] for name in kept] == ["sentiment.current"]


def test_a_ref_that_points_nowhere_is_a_finding(store: ModelStore, made: Published) -> None:
    """Refs of older stores have no checksum; what they say is checked all the same."""
    ref = store.root / "models/sentiment/refs/current.json"
    plain = json.loads(ref.read_bytes())
    del plain["checksum"]
    ref.write_text(json.dumps(plain))
    assert store.resolve("sentiment").version == made.version
    whole = ref.read_text()
    wrong = made.manifest_digest.replace(made.manifest_digest[-4:], "beef")
    for damaged, reason in (
        ("{", "cannot be read"),
        (whole.replace(made.version, "20200101T000000Z-00000000"), "which is not there"),
        (whole.replace(made.manifest_digest, wrong), f"expects manifest {wrong}"),
    ):
        ref.write_text(damaged)
        findings = store.verify()
        assert [each.problem for each in findings] == ["ref"]
        assert reason in findings[0].message
    with pytest.raises(Corrupt, match="ref current expects"):
        store.resolve("sentiment")
    assert store.resolve("sentiment", made.version).version == made.version


def test_a_flipped_byte_in_a_spare_blob_is_found(store: ModelStore, made: Published) -> None:
    spare = store.root / "blobs/sha256" / made.manifest_digest[7:9] / made.manifest_digest[7:]
    assert spare.stat().st_nlink == 1
    flip(spare, 10)
    (finding,) = store.verify()
    assert (finding.model, finding.problem) == ("", "digest")
    assert finding.expected == made.manifest_digest
    assert store.verify("sentiment") == []


def test_progress_ends_where_it_said(store: ModelStore, made: Published) -> None:
    seen: list[tuple[str, int, int]] = []
    store.verify(progress=lambda *step: seen.append(step))
    assert seen[-1][1] == seen[-1][2] > 2 * sum(map(len, FILES.values()))
    assert [step[1] for step in seen] == sorted(step[1] for step in seen)


def test_what_is_not_there_is_said(store: ModelStore, made: Published) -> None:
    for attempt, code in (
        (lambda: store.resolve("nobody"), "model-unknown"),
        (lambda: store.resolve("sentiment", "canary"), "model-ref"),
        (lambda: store.resolve("sentiment", "20200101T000000Z-00000000"), "model-version"),
        (lambda: store.verify("nobody"), "model-unknown"),
        (lambda: store.verify("sentiment", "20200101T000000Z-00000000"), "model-version"),
    ):
        with pytest.raises(NotFound) as missing:
            attempt()
        assert missing.value.code == code
