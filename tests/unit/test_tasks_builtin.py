"""The tasks in the box: every kind of each loads, asks about its input, and ends."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from inhouse.inference.schemas import bounded, is_strict, outline
from inhouse.settings import load_settings
from inhouse.tasks.catalog import builtin_names, load_catalog
from inhouse.tasks.outputs import check, response_schema
from inhouse.tasks.prompts import render
from inhouse.tasks.spec import TaskKind, TaskSpec

BOX = files("inhouse.tasks") / "builtin"
LONGEST_PROMPT = 1000
INPUT = "Query: {{ 7 * 6 }}?\nPassage: the input's own words"


def kinds() -> Iterator[tuple[str, str]]:
    for name in builtin_names():
        box = tomllib.loads((BOX / f"{name}.toml").read_text(encoding="utf-8"))
        yield from ((name, kind) for kind in box["kinds"])


def load(folder: Path, name: str, **keys: str) -> TaskSpec:
    lines = [f'[tasks."{name}"]', f'builtin = "{name}"']
    lines += [f"{key} = {value}" for key, value in keys.items()]
    (folder / "inhouse.toml").write_text("\n".join(lines), encoding="utf-8")
    return load_catalog(load_settings(folder, environment={})).get(name)


def parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Every schema in a schema."""
    if isinstance(schema, Mapping):
        if "type" in schema or "enum" in schema:
            yield schema
        for value in schema.values():
            yield from parts(value)


@pytest.mark.parametrize(("name", "kind"), list(kinds()))
def test_every_kind_of_every_box_is_a_task(tmp_path: Path, name: str, kind: str) -> None:
    spec = load(tmp_path, name, kind=f'"{kind}"')
    assert spec.kind == kind
    assert spec.description
    said = render(spec, INPUT)
    assert said.count(INPUT) == 1
    assert len(said) - len(INPUT) < LONGEST_PROMPT
    assert "  " not in said.replace(INPUT, "")
    assert load(tmp_path, name).name == name


@pytest.mark.parametrize("name", [name for name, kind in kinds() if kind == "json"])
def test_every_object_is_strict_and_has_an_end(tmp_path: Path, name: str) -> None:
    spec = load(tmp_path, name)
    schema = response_schema(spec)
    assert schema is not None
    assert is_strict(schema)
    for part in parts(schema):
        if "enum" not in part:
            kind = part["type"]
            assert {"array": "maxItems", "string": "maxLength"}.get(kind, "type") in part
    for field in schema["properties"]:
        assert f'"{field}"' in spec.prompt
    least = outline(schema)
    assert check(spec, least) == least
    assert jsonschema_rs.is_valid(bounded(schema), least)


def test_labels_of_entities_are_the_readers(tmp_path: Path) -> None:
    """The example of the prompt goes with the labels that it uses."""
    spec = load(tmp_path, "entities")
    assert "Maria Lopez" in render(spec, "x")
    own = load(tmp_path, "entities", labels='["NEWS_ORG", "POLICY_TERM"]')
    assert own.kind is TaskKind.SPANS
    assert own.labels == ("NEWS_ORG", "POLICY_TERM")
    assert "Types: NEWS_ORG, POLICY_TERM." in render(own, "x")
    assert "Maria Lopez" not in render(own, "x")
