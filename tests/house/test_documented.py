"""Whatever a user can set, type, meet or watch stands in the documentation, and that builds."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import reference
from lock import name_of
from source_facts import error_codes, metrics

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def _page(name: str) -> str:
    return (DOCS / "reference" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_reference_page_says_what_the_code_says(name: str) -> None:
    assert _page(name) == reference.NOTE + reference.PAGES[name](), "run `make reference`"


def test_every_setting_has_a_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \|  \|$", reference.settings_page(), re.MULTILINE)
    assert rows == [], "settings without a docstring below them"


def test_every_command_and_option_has_a_meaning() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|  \| .*$", reference.cli_page(), re.MULTILINE)
    named = [row for row in rows if row.startswith("-")]
    assert named == [], "options without a help text"


def test_error_codes_are_kebab_case() -> None:
    codes = error_codes()
    assert len(codes) > 50
    assert [code for code in codes if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", code)] == []


def test_metrics_are_named_by_the_rules() -> None:
    series = metrics()
    assert len(series) > 5
    for one in series:
        assert one.name.startswith("inhouse_"), one
        assert one.doc, one
        assert (one.kind == "counter") == one.name.endswith("_total"), one
        is_timer = one.kind == "histogram"
        assert one.kind == "gauge" or is_timer == one.name.endswith("_seconds"), one


def test_every_decision_is_in_the_navigation_and_says_why() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    decisions = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    assert len(decisions) >= 10
    for number, page in enumerate(decisions, 1):
        assert page.name.startswith(f"{number:04}-"), page.name
        assert f"decisions/{page.name}" in navigation
        text = page.read_text(encoding="utf-8")
        for heading in ("## Context", "## Decision", "## Rejected", "## Consequences"):
            assert heading in text, f"{page.name} has no {heading}"


def test_every_dependency_has_its_reason() -> None:
    text = next((DOCS / "decisions").glob("*-dependencies.md")).read_text(encoding="utf-8")
    declared = set(re.findall(r'^\s*"?([a-z][a-z0-9-]+)', "\n".join(_declared()), re.MULTILINE))
    assert declared
    assert {name for name in declared if f"`{name}`" not in text} == set()


def test_every_core_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {name_of(line).replace("-", "_") for line in project["dependencies"]}
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    used = set(re.findall(r"^\s*(?:import|from) (\w+)", source, re.MULTILINE))
    assert names - used == {"uvloop"}, "uvicorn takes uvloop by itself; nothing else may be idle"


def _declared() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    lines = list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        lines += extra
    for group in project["dependency-groups"].values():
        lines += group
    return [line for line in lines if not line.startswith("inhouse")]


def test_the_prose_keeps_to_the_house_style() -> None:
    banned = re.compile(r"\b(simply|obviously)\b|[\U0001f300-\U0001faff]")
    pages = [*PAGES, ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
    found = [page.name for page in pages if banned.search(page.read_text(encoding="utf-8"))]
    assert found == []


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text) + re.findall(r'src="([^"]+)"', text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_documentation_builds_strictly(tmp_path: Path) -> None:
    command = ["build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "glossary" / "index.html").exists()
