"""How the source must look: sizes, names, imports, and nothing left open."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "inhouse"
MODULES = sorted(SOURCE.rglob("*.py"))
WRITTEN = [
    path
    for folder in ("src", "tests", "scripts", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
LONGEST_FILE, LONGEST_TEST_FILE, LONGEST_FUNCTION = 400, 600, 60
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "service", "misc"}
# Where an import inside a function is the rule: heavy libraries, and a quick `--help`.
LATE_IMPORTS = ("inference/engines/", "training/trainers/", "cli/")
OPEN_ENDS = re.compile(r"\b(TO" + "DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _where(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 50


def test_no_file_is_too_long() -> None:
    lengths = {_where(path): len(path.read_text("utf-8").splitlines()) for path in WRITTEN}
    limits = {"tests/": LONGEST_TEST_FILE}
    assert {n: size for n, size in lengths.items() if size > limits.get(n[:6], LONGEST_FILE)} == {}


def test_no_function_is_too_long() -> None:
    found = {}
    for path in WRITTEN:
        if path.parent == SOURCE / "migrations" / "versions":
            continue  # one statement after the other, written by Alembic
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                found[f"{_where(path)}:{node.lineno} {node.name}"] = length
    assert {name: n for name, n in found.items() if n > LONGEST_FUNCTION} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    named = {_where(path) for path in MODULES if {path.stem, path.parent.name} & BANNED_NAMES}
    assert named == set()


def test_imports_inside_functions_stay_where_they_belong() -> None:
    found = []
    for path in MODULES:
        if _where(path).removeprefix("src/inhouse/").startswith(LATE_IMPORTS):
            continue
        lines = path.read_text("utf-8").splitlines()
        for function in ast.walk(_tree(path)):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                hidden = isinstance(node, ast.Import | ast.ImportFrom)
                if hidden and "noqa: PLC0415 - " not in lines[node.lineno - 1]:
                    found.append(f"{_where(path)}:{node.lineno}")
    assert found == []


def test_nothing_is_left_open() -> None:
    found = [
        f"{_where(path)}:{number}"
        for path in WRITTEN
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if OPEN_ENDS.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("package", sorted(p.parent for p in SOURCE.rglob("__init__.py")), ids=str)
def test_every_package_says_what_it_is_for(package: Path) -> None:
    if package.name == "versions" and package.parent.name == "migrations":
        pytest.skip("Alembic's folder of revisions")
    assert ast.get_docstring(_tree(package / "__init__.py"))


def test_the_story_names_every_package() -> None:
    story = ast.get_docstring(_tree(SOURCE / "__init__.py")) or ""
    folders = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    modules = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    names = folders | modules
    missing = {name for name in names if not re.search(rf"(^|[\s`(]){name}\b", story, re.MULTILINE)}
    assert missing == set()


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert {name for name in names if names.count(name) > 1} == set()


def test_the_version_is_the_same_everywhere() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    text = (SOURCE / "__init__.py").read_text("utf-8")
    assert f'__version__ = "{declared}"' in text
    assert f"## [{declared}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
