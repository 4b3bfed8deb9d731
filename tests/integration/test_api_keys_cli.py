"""``inhouse keys``, on a project of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inhouse.cli.context import open_context, set_folder
from inhouse.cli.keys import app
from inhouse.core.errors import Invalid, NotFound
from inhouse.gateway.keys import Permission, Role


@pytest.fixture(autouse=True)
def project(tmp_path: Path) -> None:
    set_folder(tmp_path)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_key_is_shown_once_and_works() -> None:
    key = run("create", "--name", "the shop", "--role", "viewer").strip()
    ring = open_context().app.keys
    ring.refresh()
    found = ring.find(key)
    assert (found.name, found.role) == ("the shop", Role.VIEWER)
    found.require(Permission.READ)
    assert key not in run("list")
    assert "the shop" in run("list")


def test_json_of_every_command() -> None:
    made = json.loads(run("create", "--name", "shop", "--json"))
    assert set(made) == {"id", "name", "role", "key"}
    assert made["role"] == "application"
    (listed,) = json.loads(run("list", "--json"))
    assert (listed["id"], listed["revoked_at"]) == (made["id"], None)
    assert made["key"] not in json.dumps(listed)
    assert json.loads(run("revoke", made["id"], "--json")) == {"id": made["id"], "revoked": True}
    (listed,) = json.loads(run("list", "--json"))
    assert listed["revoked_at"] is not None


def test_a_revoked_key_is_marked_in_the_list() -> None:
    made = json.loads(run("create", "--name", "shop", "--json"))
    assert "active" in run("list")
    run("revoke", made["id"])
    assert "revoked" in run("list")


def test_bad_input_makes_no_key() -> None:
    with pytest.raises(Invalid, match="no role 'king'") as caught:
        run("create", "--name", "x", "--role", "king")
    assert "operator" in caught.value.hint
    with pytest.raises(Invalid, match="printable"):
        run("create", "--name", "\n")
    with pytest.raises(NotFound):
        run("revoke", "nothing")
    assert run("list") == ""
