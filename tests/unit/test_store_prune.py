"""Garbage collection: what goes, what stays and why, and what a kill in the middle leaves."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.errors import Corrupt, NotFound
from inhouse.store.leases import LEASE_S, LeaseRecord
from inhouse.store.manifest import Draft, Manifest, VariantSpec
from inhouse.store.owner import this_process
from inhouse.store.prune import Policy
from inhouse.store.publish import Published
from inhouse.store.store import ModelStore
from inhouse.testing.clock import FrozenClock

ONNX = VariantSpec(id="onnx-fp32", format="onnx", dtype="fp32", files=("model.onnx",))
DRAFT = Draft(kind="encoder", license="MIT", variants=(ONNX,))
STRIDE = 1 if os.environ.get("INHOUSE_FULL") else 3
SHARED = b"shared by all" * 10


@pytest.fixture
def clock() -> FrozenClock:
    """As late as the files that the tests write, whose own times count too."""
    return FrozenClock(datetime.now(UTC))


@pytest.fixture
def store(tmp_path: Path, clock: FrozenClock) -> ModelStore:
    return ModelStore(tmp_path / "store", clock)


def put(store: ModelStore, clock: FrozenClock, data: bytes, name: str = "sentiment") -> Published:
    clock.advance(60)
    with store.stage(name) as staging:
        (staging.path / "model.onnx").write_bytes(b"\x08" + data)
        (staging.path / "vocab.txt").write_bytes(SHARED)
        return store.publish(staging, DRAFT)


def nobody(_name: str, _version: str, _manifest: Manifest | None) -> str:
    return ""


def gone(store: ModelStore, policy: Policy, *, dry_run: bool = False) -> list[str]:
    found = store.prune(policy, dry_run=dry_run)
    return [each.name.partition("@")[2] for each in found if each.kind == "version"]


def blobs(store: ModelStore) -> int:
    return len(list((store.root / "blobs/sha256").glob("*/*")))


def test_only_what_is_old_and_unneeded_goes(store: ModelStore, clock: FrozenClock) -> None:
    released, needed, held, old, older_kept, kept = (put(store, clock, b"%d" % n) for n in range(6))
    store.set_ref("sentiment", "canary", released.version, actor="me", reason="")
    asked: list[tuple[str, str]] = []

    def needs(name: str, version: str, manifest: Manifest | None) -> str:
        assert manifest is not None
        assert manifest.version == version
        asked.append((name, version))
        return "a route" if version == needed.version else ""

    policy = Policy(needed=needs, keep=2)
    assert gone(store, policy) == [], "all are younger than the grace"
    assert asked == []
    clock.advance(8 * 86400)
    with store.hold("sentiment", held.version, holder="a test"):
        listed = store.prune(policy, dry_run=True)
        assert [each.name for each in listed if each.kind == "version"] == [
            f"sentiment@{old.version}"
        ]
        assert len(store.versions("sentiment")) == 6
        assert store.prune(policy, dry_run=False) == listed, "a dry run tells what will happen"
        rest = [released, needed, held, older_kept, kept]
        assert store.versions("sentiment") == [each.version for each in rest]
        freed = sum(each.bytes for each in listed)
        assert freed == 2 * (
            old.path.parent / kept.version / "manifest.json"
        ).stat().st_size + 2 + (65 + len("  manifest.json"))
    assert store.verify() == []
    assert gone(store, policy) == [held.version]
    assert blobs(store) == 4 * 2 + 1, "a file and a manifest each, and the shared one"
    with pytest.raises(NotFound):
        store.resolve("sentiment", old.version)
    assert store.prune(policy, dry_run=False) == []


def test_without_a_policy_no_version_goes(store: ModelStore, clock: FrozenClock) -> None:
    made = put(store, clock, b"1")
    clock.advance(400 * 86400)
    assert store.prune(dry_run=False) == []
    assert store.resolve("sentiment", made.version).path == made.path


def test_the_newest_are_kept_but_not_for_their_damage(
    store: ModelStore, clock: FrozenClock
) -> None:
    whole, damaged = put(store, clock, b"1"), put(store, clock, b"2")
    (damaged.path / "vocab.txt").unlink()
    with pytest.raises(Corrupt):
        store.resolve("sentiment", damaged.version)
    clock.advance(8 * 86400)
    assert gone(store, Policy(needed=nobody, keep=1)) == [damaged.version]
    assert store.versions("sentiment") == [whole.version]
    assert store.quarantined() == []
    assert gone(store, Policy(needed=nobody, keep=5)) == []
    assert gone(store, Policy(needed=nobody, keep=0)) == [whole.version]
    assert blobs(store) == 0
    assert store.list() == []


def test_a_damaged_ref_keeps_all_of_its_model(store: ModelStore, clock: FrozenClock) -> None:
    made = put(store, clock, b"1")
    store.set_ref("sentiment", "current", made.version, actor="me", reason="")
    (store.root / "models/sentiment/refs/current.json").write_text("{")
    clock.advance(8 * 86400)
    assert gone(store, Policy(needed=nobody, keep=0)) == []


def test_what_becomes_needed_in_between_stays(store: ModelStore, clock: FrozenClock) -> None:
    made = put(store, clock, b"1")
    clock.advance(8 * 86400)
    answers = iter(["", "a route"])
    policy = Policy(needed=lambda *_: next(answers), keep=0)
    assert gone(store, policy) == []
    assert store.versions("sentiment") == [made.version]


def test_a_lease_ends_with_its_process_or_its_time(store: ModelStore, clock: FrozenClock) -> None:
    made = put(store, clock, b"1")
    clock.advance(8 * 86400)
    policy = Policy(needed=nobody, keep=0)
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys; from pathlib import Path\n"
            "from inhouse.core.clock import SystemClock\n"
            "from inhouse.store.store import ModelStore\n"
            "store = ModelStore(Path(sys.argv[1]), SystemClock())\n"
            "store.hold('sentiment', sys.argv[2], holder='a child')\n"
            "assert len(store.leases()) == 1; os.kill(os.getpid(), 9)",
            str(store.root),
            made.version,
        ],
        check=False,
    )
    assert child.returncode == -9
    assert store.leases() == []
    elsewhere = msgspec.structs.replace(this_process(clock), host="elsewhere")
    record = LeaseRecord(
        name="sentiment",
        version=made.version,
        holder="another machine",
        owner=elsewhere,
        expires_at=clock.now() + timedelta(seconds=LEASE_S),
    )
    left = store.root / "leases/left.json"
    left.write_bytes(msgspec.json.encode(record))
    assert store.leases() == [record]
    assert gone(store, policy) == []
    clock.advance(LEASE_S)
    assert gone(store, policy) == [made.version]
    assert not any((store.root / "leases").iterdir())


def test_a_lease_is_renewed_while_it_is_held(
    store: ModelStore, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inhouse.store.leases._RENEW_S", 0.001)
    made, others = put(store, clock, b"1"), _keepers()
    held = store.hold("sentiment", made.version, holder="a test")
    (own,) = _keepers() - others
    (first,) = store.leases()
    clock.advance(LEASE_S - 1)
    renewed = threading.Event()
    for _ in range(30_000):
        (now,) = store.leases()
        if now.expires_at == first.expires_at + timedelta(seconds=LEASE_S - 1):
            renewed.set()
            break
        renewed.wait(0.001)
    assert renewed.is_set()
    held.release()
    held.release()
    assert store.leases() == []
    own.join(30)
    assert not own.is_alive()


def test_no_thread_is_left_by_a_lease_that_ends_at_once(
    store: ModelStore, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the thread comes to run when the lease has ended."""
    made, others, runs = put(store, clock, b"1"), _keepers(), threading.Event()
    run = threading.Thread.run

    def late(self: threading.Thread) -> None:
        runs.wait(30)
        run(self)

    monkeypatch.setattr(threading.Thread, "run", late)
    held = store.hold("sentiment", made.version, holder="a test")
    (own,) = _keepers() - others
    held.release()
    runs.set()
    own.join(30)
    assert not own.is_alive()


def _keepers() -> set[threading.Thread]:
    """The threads of this process that renew leases, those of other stores too."""
    return {thread for thread in threading.enumerate() if thread.name == "leases"}


def test_a_version_that_is_gone_cannot_be_held(store: ModelStore, clock: FrozenClock) -> None:
    made = put(store, clock, b"1")
    put(store, clock, b"2")
    clock.advance(8 * 86400)
    assert gone(store, Policy(needed=nobody, keep=1)) == [made.version]
    with pytest.raises(NotFound):
        store.hold("sentiment", made.version, holder="late")


def test_a_store_that_cannot_be_written_to_is_served_without_a_lease(
    store: ModelStore, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = put(store, clock, b"1")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("inhouse.store.leases.ensure_folder", refuse)
    held = store.hold("sentiment", made.version, holder="a test")
    assert (held.version.path, held.lease) == (made.path, None)
    held.release()


# Prunes a store and kills itself at the n-th operation that deletes or renames.
KILLED = """
import os, shutil, sys
from datetime import timedelta
from pathlib import Path
from inhouse.core.clock import SystemClock
from inhouse.store.prune import Policy
from inhouse.store.store import ModelStore
from inhouse.testing.clock import FrozenClock

def counted(call, left):
    def one(*arguments, **named):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), 9)
        return call(*arguments, **named)
    return one

clock = FrozenClock(SystemClock().now() + timedelta(days=8))
for line in sys.stdin:
    root, step = line.split()
    child = os.fork()
    if child == 0:
        left = [int(step)]
        os.rename, os.unlink, os.rmdir = (
            counted(call, left) for call in (os.rename, os.unlink, os.rmdir)
        )
        ModelStore(Path(root), clock).prune(Policy(needed=lambda *_: "", keep=1), dry_run=False)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_kill_at_any_step_leaves_a_store_that_is_whole(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None
        step, code = 0, -9
        while code == -9:
            clock = FrozenClock(datetime.now(UTC) - timedelta(hours=1))
            store = ModelStore(tmp_path / f"store-{step}", clock)
            made = [put(store, clock, b"%d" % n) for n in range(3)]
            driver.stdin.write(f"{store.root} {step}\n")
            driver.stdin.flush()
            code = int(driver.stdout.readline())
            later = ModelStore(store.root, SystemClock())
            assert later.verify() == [], f"killed at step {step}"
            assert made[-1].version in later.versions("sentiment")
            clock.advance(9 * 86400)
            store.prune(Policy(needed=nobody, keep=1), dry_run=False)
            assert store.versions("sentiment") == [made[-1].version]
            assert blobs(store) == 3
            assert not any((store.root / "trash").iterdir())
            step += STRIDE
        driver.stdin.close()
    assert code == 0
    assert step > 10, "the kills met too few steps"


@pytest.mark.parametrize(
    "step",
    [
        "inhouse.store.publish.link_or_copy",
        "inhouse.store.refs.replace_file",
        "inhouse.store.leases.replace_file",
    ],
)
def test_nothing_is_deleted_under_the_hands_of_another(
    step: str, store: ModelStore, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a blob or a version and the link, ref or lease that keeps it."""
    module, _, name = step.rpartition(".")
    real = getattr(sys.modules[module], name)
    asked = []

    def check(*arguments: object, **named: object) -> None:
        with (store.root / "lock").open("ab") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        asked.append(step)
        real(*arguments, **named)

    monkeypatch.setattr(step, check)
    made = put(store, clock, b"1")
    store.set_ref("sentiment", "canary", made.version, actor="me", reason="")
    store.hold("sentiment", made.version, holder="a test").release()
    assert asked
    with (store.root / "lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
