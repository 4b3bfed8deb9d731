"""The locks in requirements/: what pyproject.toml declares, every file by its hash, and small."""

from __future__ import annotations

import re
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from lock import FOLDER, LOCKS, OUTSIDE, Lock, digest, name_of, wanted

LINE = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;]+)( ; (?P<marker>.+?))? \\$")
# Markers of the machines that the limits are meant for.
LINUX = {"sys_platform": "linux", "platform_machine": "x86_64", "python_full_version": "3.11.9"}
MOST = {"core": 36, "encoder": 52}

locks = pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)


def pinned(lock: Lock) -> dict[str, str]:
    """Name to version, of the lines that a Linux machine with Python 3.11 installs."""
    found = {}
    for line in lock.path.read_text(encoding="utf-8").splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        marker = Requirement(f"x ; {match['marker']}").marker if match["marker"] else None
        if marker is None or marker.evaluate(LINUX):
            found[name_of(match["name"])] = match["version"]
    return found


def needs(name: str, extra: str) -> list[str]:
    """What an installed distribution requires on a Linux machine, with one of its extras."""
    return [
        name_of(one.name)
        for one in map(Requirement, requires(name) or [])
        if one.marker is None or one.marker.evaluate({**LINUX, "extra": extra})
    ]


@locks
def test_a_lock_was_made_from_the_present_pyproject(lock: Lock) -> None:
    head = lock.path.read_text(encoding="utf-8").splitlines()[1]
    assert head == f"# input: {digest(lock)}", "run `make lock`"


@locks
def test_a_lock_satisfies_the_declared_ranges(lock: Lock) -> None:
    versions = pinned(lock)
    for line in wanted(lock):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(LINUX):
            assert Version(versions[name_of(requirement.name)]) in requirement.specifier, line


@locks
def test_every_line_of_a_lock_is_a_pin_with_hashes(lock: Lock) -> None:
    lines = lock.path.read_text(encoding="utf-8").splitlines()[2:]
    assert lines
    for number, line in enumerate(lines):
        if line.startswith("    --hash=sha256:"):
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
            continue
        assert LINE.match(line), line
        assert lines[number + 1].startswith("    --hash="), line


@locks
def test_a_lock_names_no_index_and_no_torch(lock: Lock) -> None:
    text = lock.path.read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    heavy = (OUTSIDE, "nvidia", "cuda", "triton")
    assert [name for name in pinned(lock) if name.startswith(heavy)] == []


def test_locks_agree_with_each_other() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, version in pinned(lock).items():
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_torch_is_pinned_within_the_declared_ranges() -> None:
    pin = Requirement((FOLDER / "torch.txt").read_text(encoding="utf-8").strip())
    version = next(iter(pin.specifier)).version
    declared = [Requirement(line) for line in requires("inhouse") or []]
    ranges = [one.specifier for one in declared if one.name == OUTSIDE]
    assert ranges
    assert all(Version(version) in one for one in ranges)


def test_the_core_install_stays_small() -> None:
    core = next(lock for lock in LOCKS if lock.name == "core")
    assert len(pinned(core)) + 1 <= MOST["core"]


def test_the_encoder_extra_stays_small() -> None:
    """Counted as what the core lock holds and what the extra's own packages need beyond it."""
    demo = pinned(next(lock for lock in LOCKS if lock.name == "demo"))
    core = next(lock for lock in LOCKS if lock.name == "core")
    needed = set(pinned(core)) | {"inhouse"}
    queue = needs("inhouse", "encoder")
    assert queue
    while queue:
        name = queue.pop()
        if name in needed:
            continue
        assert name in demo, name
        needed.add(name)
        queue += needs(name, "")
    assert len(needed) <= MOST["encoder"], sorted(needed)
