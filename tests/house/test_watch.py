"""What watches Inhouse from outside: rules, dashboard and runbooks fit what the product has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import inhouse.api.control  # noqa: F401 - declares every series
from inhouse.monitoring.concern import Code

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "inhouse.rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "inhouse.json"
RUNBOOKS = ROOT / "docs" / "runbooks"
_FROM_PROMETHEUS = {"up"}
_ADDED = {"instance", "job", "le"}
"""Labels that Prometheus adds, and that of a histogram's buckets."""
_WORDS = {"sum", "max", "by", "rate", "increase", "histogram_quantile", "and", "or", "label_values"}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    assert group["name"] == "inhouse"
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return found


def panels() -> list[dict[str, Any]]:
    return [one for one in dashboard()["panels"] if one["type"] != "row"]


def expressions() -> list[str]:
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [rule["expr"] for rule in rules()] + shown


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Every series of an expression, with the labels that it is chosen by."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    without_groups = re.sub(r"\bby \([^)]*\)", "", bare)
    for name, chosen in re.findall(r"([a-z_]\w*)(\{[^}]*\})?", without_groups):
        if name in _WORDS or not (name.startswith("inhouse_") or chosen):
            continue
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen))


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_an_expression_asks_for_series_and_labels_that_exist(expression: str) -> None:
    found = list(selectors(expression))
    assert found, expression
    known = REGISTRY._names_to_collectors
    labels: set[str] = set()
    for name, chosen in found:
        if name in _FROM_PROMETHEUS:
            continue
        assert name in known, name
        own = set(known[name]._labelnames) | _ADDED  # type: ignore[attr-defined]
        assert chosen <= own, (name, chosen)
        labels |= own
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {one.strip() for one in group.split(",")} <= labels, group
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_a_rule_has_what_a_rule_needs() -> None:
    found = rules()
    names = [rule["alert"] for rule in found]
    assert len(names) == len(set(names)) > 10
    for rule in found:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}, rule
        assert re.fullmatch(r"Inhouse[A-Z][A-Za-z]+", rule["alert"])
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]


def test_a_rule_that_waits_for_one_more_asks_for_what_is_there_from_the_start() -> None:
    """Prometheus sees no increase in a series that begins with 1."""
    counted = re.compile(r"increase\((\w+)(?:\{[^}]*\})?\[\w+\]\)+ > 0")
    found = {name for rule in rules() for name in counted.findall(rule["expr"])}
    assert found
    labelled = {n for n in found if REGISTRY._names_to_collectors[n]._labelnames}  # type: ignore[attr-defined]
    assert labelled == {"inhouse_notices_total"}, "which begins with its channel"


def test_every_rule_leads_to_a_runbook() -> None:
    for rule in rules():
        link = rule["annotations"]["runbook_url"]
        codes = list(Code) if "$labels.code" in link else [""]
        for code in codes:
            assert (ROOT / link.replace("{{ $labels.code }}", code)).is_file(), rule["alert"]


@pytest.mark.parametrize("code", list(Code))
def test_every_alert_has_a_runbook_that_people_find(code: Code) -> None:
    text = (RUNBOOKS / f"{code}.md").read_text("utf-8")
    for heading in ("## What it means", "## What to look at", "## What to do"):
        assert heading in text, f"{code} has no {heading!r}"
    assert f"runbooks/{code}.md" in (ROOT / "mkdocs.yml").read_text("utf-8")


def test_the_dashboard_is_whole() -> None:
    found = dashboard()
    assert found["uid"] == "inhouse"
    numbers = [one["id"] for one in found["panels"]]
    assert len(numbers) == len(set(numbers))
    variables = {one["name"] for one in found["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text("utf-8")))
    assert used - {"__rate_interval", "__all"} == variables
    taken: set[tuple[int, int]] = set()
    for one in found["panels"]:
        at = one["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, one["title"]
        taken |= cells
    for panel in panels():
        assert all(panel[name] for name in ("title", "description", "targets")), panel["id"]
        assert panel["datasource"]["uid"] == "${datasource}"
