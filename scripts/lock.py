"""Write the hash locks in requirements/ from pyproject.toml: ``make lock``.

Three sets of packages, each without torch, which `make` installs in a step of its own
(requirements/torch.txt). No lock holds an index address: whoever installs uses their own settings.

    core   the product as `pip install inhouse` brings it
    demo   core + encoder + train + lm + demo, what the build itself needs, and what torch needs
    test   demo + postgres + parquet + spacy + notify + the group `test`
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "requirements"
PYTHON = "3.11"
OUTSIDE = "torch"
# Without these `pip install torch` would fetch them unlocked, in its own step.
TORCH_NEEDS = (
    "filelock",
    "fsspec",
    "jinja2",
    "networkx",
    "setuptools>=77.0.3",
    "sympy>=1.13.3",
    "typing-extensions>=4.10",
)


@dataclass(frozen=True, kw_only=True)
class Lock:
    """One lock: which extras and groups of pyproject.toml it holds, and whether it builds."""

    name: str
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    builds: bool = False

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.lock"


LOCKS = (
    Lock(name="core"),
    Lock(name="demo", extras=("encoder", "train", "lm", "demo"), builds=True),
    Lock(
        name="test",
        extras=("encoder", "train", "lm", "demo", "postgres", "parquet", "spacy", "notify"),
        groups=("test",),
        builds=True,
    ),
)


def wanted(lock: Lock) -> list[str]:
    """The requirements of a lock as pyproject.toml declares them, sorted, without torch."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = list(project["project"]["dependencies"])
    for extra in lock.extras:
        lines += project["project"]["optional-dependencies"][extra]
    for group in lock.groups:
        lines += project["dependency-groups"][group]
    if lock.builds:
        lines += [*project["build-system"]["requires"], *TORCH_NEEDS]
    left_out = (project["project"]["name"], OUTSIDE)
    return sorted({line for line in lines if name_of(line) not in left_out})


def name_of(requirement: str) -> str:
    """The distribution that a requirement or a line of a lock names."""
    found = re.match(r"[A-Za-z0-9._-]*[A-Za-z0-9]", requirement)
    return found.group().lower().replace("_", "-") if found else ""


def digest(lock: Lock) -> str:
    """What the header of a lock carries, so that a changed pyproject.toml is noticed."""
    text = json.dumps([PYTHON, wanted(lock)])
    return hashlib.sha256(text.encode()).hexdigest()


def header(lock: Lock) -> str:
    return f"# Written by `make lock` from pyproject.toml; do not edit.\n# input: {digest(lock)}\n"


def compile_lock(lock: Lock, *, upgrade: bool) -> str:
    """The text of a lock. Keeps the versions of the present one unless `upgrade`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "input.in").write_text("\n".join(wanted(lock)) + "\n", encoding="utf-8")
        (folder / "never.txt").write_text(f"{OUTSIDE} ; python_version < '3'\n", encoding="utf-8")
        output = folder / "output.lock"
        if lock.path.exists() and not upgrade:
            output.write_text(lock.path.read_text(encoding="utf-8"), encoding="utf-8")
        command = [
            *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", PYTHON),
            *("--generate-hashes", "--no-annotate", "--no-header", "--no-emit-index-url"),
            *("--fork-strategy", "fewest", "--no-sources", "--no-config"),
            *("--override", str(folder / "never.txt"), "--output-file", str(output)),
            str(folder / "input.in"),
        ]
        subprocess.run([sys.executable, "-m", *command], check=True, cwd=folder)
        return header(lock) + output.read_text(encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for lock in LOCKS:
        text = compile_lock(lock, upgrade=arguments.upgrade)
        lock.path.write_text(text, encoding="utf-8")
        count = sum("==" in line for line in text.splitlines())
        print(f"{lock.path.relative_to(ROOT)}: {count} distributions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
