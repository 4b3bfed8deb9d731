"""Publishers are killed at random moments; a reader never meets a version that does not verify."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from inhouse.core.clock import SystemClock
from inhouse.store.store import ModelStore
from inhouse.testing.clock import FrozenClock

KILLS = 1000 if os.environ.get("INHOUSE_FULL") else 100
SEED = 20251123

# Forks one publisher per line of input, prints its process id, and says when it is reaped.
DRIVER = """
import os, signal, sys
from pathlib import Path
from inhouse.core.clock import SystemClock
from inhouse.store.manifest import Draft, VariantSpec
from inhouse.store.store import ModelStore

onnx = VariantSpec(id="onnx-fp32", format="onnx", dtype="fp32", files=("model.onnx",))
draft = Draft(kind="encoder", license="MIT", variants=(onnx,))

def publish_until_killed():
    signal.alarm(60)
    store = ModelStore(Path(sys.argv[1]), SystemClock())
    while True:
        with store.stage("sentiment") as staging:
            (staging.path / "model.onnx").write_bytes(b"\\x08" + os.urandom(20_000))
            (staging.path / "tokenizer").mkdir()
            (staging.path / "tokenizer/vocab.txt").write_bytes(b"shared" * 1000)
            version = store.publish(staging, draft).version
        store.set_ref("sentiment", "current", version, actor="publisher", reason="loop")

for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        publish_until_killed()
    print(child, flush=True)
    os.waitpid(child, 0)
    print("reaped", flush=True)
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        yield process
        os.killpg(process.pid, signal.SIGKILL)


def ask(driver: subprocess.Popen[str]) -> int:
    assert driver.stdin is not None
    assert driver.stdout is not None
    driver.stdin.write("go\n")
    driver.stdin.flush()
    return int(driver.stdout.readline())


def look(reader: ModelStore, seen: set[str]) -> None:
    """Resolve what is current and every version that has become visible: each one verifies."""
    if reader.read_ref("sentiment") is not None:
        reader.resolve("sentiment")
    for version in sorted(set(reader.versions("sentiment")) - seen):
        seen.add(reader.resolve("sentiment", version).version)


def test_kills_during_publish_are_never_seen_by_a_reader(
    tmp_path: Path, driver: subprocess.Popen[str]
) -> None:
    reader = ModelStore(tmp_path / "store", SystemClock())
    rng = random.Random(SEED)
    seen: set[str] = set()
    last_seq = 0
    for _ in range(KILLS):
        began = time.monotonic()
        child = ask(driver)
        before = len(seen)
        while len(seen) == before:
            look(reader, seen)
            assert time.monotonic() < began + 60, "the publisher publishes nothing"
        cycle = time.monotonic() - began
        moment = time.monotonic() + rng.uniform(0.0, 1.5 * cycle)
        while time.monotonic() < moment:
            look(reader, seen)
        os.kill(child, signal.SIGKILL)
        assert driver.stdout is not None
        assert driver.stdout.readline() == "reaped\n"
        fresh = ModelStore(tmp_path / "store", SystemClock())
        look(fresh, seen)
        ref = fresh.read_ref("sentiment")
        seq = ref.seq if ref is not None else 0
        assert seq >= last_seq
        last_seq = seq
    assert len(seen) >= KILLS
    assert reader.verify() == []
    assert len(reader.versions("sentiment")) >= last_seq >= KILLS // 4
    # A publisher killed before it wrote its name in staging counts as dead an hour later.
    later = ModelStore(tmp_path / "store", FrozenClock(SystemClock().now() + timedelta(hours=2)))
    left = later.prune(dry_run=False)
    assert len(left) >= KILLS // 10, "too few kills met a publisher at work"
    assert not any((tmp_path / "store/staging").iterdir())
    assert reader.verify() == []
    (shown,) = [entry for entry in reader.list() if "current" in entry.refs]
    assert shown.version == reader.resolve("sentiment").version
