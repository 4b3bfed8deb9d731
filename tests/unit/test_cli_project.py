"""``inhouse init``: what it writes is a project with the tasks asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from inhouse.cli.main import app
from inhouse.cli.project import template
from inhouse.settings import load_settings
from inhouse.tasks.catalog import built_in, builtin_names, load_catalog


def test_any_task_of_the_box_can_be_started_with(tmp_path: Path) -> None:
    folder = tmp_path / "newsroom"
    words = [word for name in ("entities", "chief-editor", "entities") for word in ("--task", name)]
    done = CliRunner().invoke(app, ["init", str(folder), *words])
    assert done.exit_code == 0, done.output
    specs = load_catalog(load_settings(folder, environment={})).all()
    assert [(spec.name, spec.chain) for spec in specs] == [
        ("chief-editor", ("embedded/smollm2-135m",)),
        ("entities", ("embedded/smollm2-135m",)),
    ]


def test_without_a_task_it_is_sentiment(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["init", str(tmp_path)]).exit_code == 0
    (spec,) = load_catalog(load_settings(tmp_path, environment={})).all()
    assert (spec.name, spec.kind) == ("sentiment", "choice")


def test_a_task_that_is_not_in_the_box_writes_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["init", str(tmp_path), "--task", "poetry"])
    assert done.exit_code != 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", builtin_names())
def test_every_box_makes_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "inhouse.toml").write_text(template([name]), encoding="utf-8")
    assert load_catalog(load_settings(tmp_path, environment={})).get(name).chain


def test_the_box_says_what_is_in_it() -> None:
    boxes = {box.name: box for box in built_in()}
    assert boxes["sentiment"].kinds == ("score", "choice")
    assert boxes["entities"].kinds == ("spans",)
    assert all(box.description for box in boxes.values())
