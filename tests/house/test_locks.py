"""The locks in requirements/: what pyproject.toml declares, every file by its hash, and small."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from lock import FOLDER, LOCKS, OUTSIDE, Lock, digest, name_of, wanted

LINE = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;]+)( ; (?P<marker>.+?))? \\$")
# Markers of the machines that the limits are meant for.
LINUX = {"sys_platform": "linux", "platform_machine": "x86_64", "python_full_version": "3.11.9"}

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


def core_names() -> set[str]:
    return set(pinned(next(lock for lock in LOCKS if lock.name == "core")))


def encoder_names() -> set[str]:
    """What the core lock holds, and what the extra's own packages need beyond it."""
    known = pinned(next(lock for lock in LOCKS if lock.name == "demo"))
    needed, queue = core_names(), needs("inhouse", "encoder")
    assert queue
    while queue:
        name = queue.pop()
        if name not in needed:
            assert name in known, name
            needed.add(name)
            queue += needs(name, "")
    return needed


INSTALLS = [("core", core_names, 36, 100), ("encoder", encoder_names, 52, 280)]
installs = pytest.mark.parametrize(
    ("names", "most", "megabytes"),
    [pytest.param(*rest, id=name) for name, *rest in INSTALLS],
)


@installs
def test_an_install_has_few_distributions(
    names: Callable[[], set[str]], most: int, megabytes: int
) -> None:
    assert len(names()) + 1 <= most, sorted(names())


@pytest.mark.full
@installs
def test_an_install_is_small(
    names: Callable[[], set[str]], most: int, megabytes: int, tmp_path: Path
) -> None:
    """By the files of its distributions, without bytecode."""
    versions = pinned(next(lock for lock in LOCKS if lock.name == "demo"))
    pins = [f"{name}=={versions[name]}" for name in sorted(names())]
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-input", "--no-deps"]
    subprocess.run([*pip, "--no-compile", "--target", str(tmp_path), *pins], check=True)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size / 1e6 <= megabytes
