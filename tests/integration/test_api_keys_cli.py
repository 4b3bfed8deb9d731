"""``inhouse keys`` and ``inhouse limits``, on a project of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from sqlalchemy import insert, update
from typer.testing import CliRunner

from inhouse.api.auth import Principal
from inhouse.api.limits import list_limits
from inhouse.cli import limits
from inhouse.cli.context import open_context, set_folder
from inhouse.cli.keys import app
from inhouse.core.errors import Invalid, NotFound
from inhouse.db.dialects import table_of
from inhouse.gateway.keys import Permission, Role
from inhouse.gateway.tables import ApiKey
from inhouse.interactions.tables import Spent


@pytest.fixture(autouse=True)
def project(tmp_path: Path) -> None:
    set_folder(tmp_path)


def run(*arguments: str) -> str:
    return invoke(app, *arguments)


def run_limits(*arguments: str) -> str:
    alone = typer.Typer()
    alone.command()(limits.limits)
    return invoke(alone, *arguments)


def invoke(application: typer.Typer, *arguments: str) -> str:
    result = CliRunner().invoke(application, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def spend(key_id: str, **amounts: float) -> None:
    """What some process recorded for a key today."""
    context = open_context()
    day = context.app.clock.now().date().isoformat()
    row = {"day": day, "process": "p", "key_id": key_id, "upstream": ""}
    with context.app.database.write() as unit:
        table = table_of(Spent)
        unit.execute(insert(table).values(**row, **{"requests": 0, "tokens": 0, **amounts}))


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
    assert run("list") == "no keys yet: inhouse keys create\n"


def test_a_key_is_made_with_limits_and_limited_later() -> None:
    limited = ("--requests-per-minute", "60", "--cost-per-day", "2.5", "--on-limit", "throttle")
    made = json.loads(run("create", "--name", "shop", *limited, "--json"))
    (listed,) = json.loads(run("list", "--json"))
    assert listed["limits"] == {
        "requests_per_minute": 60,
        "cost_per_day": 2.5,
        "on_limit": "throttle",
    }
    assert "(requests_per_minute 60, cost_per_day 2.5, on_limit throttle)" in run("list")
    changed = run("limit", made["id"], "--cost-per-day", "4", "--tokens-per-day", "100", "--json")
    kept = {"requests_per_minute": 60, "tokens_per_day": 100, "cost_per_day": 4.0}
    assert json.loads(changed) == {
        "id": made["id"],
        "limits": {**kept, "on_limit": "throttle"},
    }
    assert "requests_per_day 9" in run("limit", made["id"], "--clear", "--requests-per-day", "9")
    assert json.loads(run("list", "--json"))[0]["limits"] == {"requests_per_day": 9}
    assert "has no limits" in run("limit", made["id"], "--clear")
    assert json.loads(run("list", "--json"))[0]["limits"] == {}


def test_limits_that_are_none_change_nothing() -> None:
    made = json.loads(run("create", "--name", "shop", "--requests-per-day", "9", "--json"))
    with pytest.raises(Invalid, match="requests_per_day: Input should be greater"):
        run("limit", made["id"], "--requests-per-day", "0")
    with pytest.raises(Invalid, match="cost_per_day: a limit is a number"):
        run("create", "--name", "x", "--cost-per-day", "inf")
    with pytest.raises(Invalid, match="'refuse', 'throttle' or 'warn'"):
        run("limit", made["id"], "--on-limit", "explode")
    with pytest.raises(Invalid, match="no limit is named"):
        run("limit", made["id"])
    with pytest.raises(NotFound, match="no key 'nothing'"):
        run("limit", "nothing", "--requests-per-day", "5")
    (listed,) = json.loads(run("list", "--json"))
    assert listed["limits"] == {"requests_per_day": 9}


def test_limits_that_cannot_be_read_are_listed() -> None:
    made = json.loads(run("create", "--name", "shop", "--json"))
    with open_context().app.database.write() as unit:
        row = update(table_of(ApiKey)).where(table_of(ApiKey).c.id == made["id"])
        unit.execute(row.values(limits={"moons_per_day": 1}))
    assert "not readable: moons_per_day" in run("list")


def test_what_is_used_up_stands_beside_its_limit(tmp_path: Path) -> None:
    assert "nothing is limited" in run_limits()
    assert json.loads(run_limits("--json")) == []
    declared = """
        [limits]
        cost_per_day = 10.0
        on_limit = "warn"
        [upstreams.up]
        base_url = "http://127.0.0.1:9/v1"
        limits.requests_per_minute = 5
    """
    (tmp_path / "inhouse.toml").write_text(declared)
    set_folder(tmp_path)
    made = json.loads(run("create", "--name", "shop", "--tokens-per-day", "400", "--json"))
    spend(made["id"], requests=3, tokens=100, cost=2.5)
    lines = json.loads(run_limits("--json"))
    assert [tuple(line.values()) for line in lines] == [
        ("server", "server", "", "cost_per_day", 10.0, 2.5, 0.25, "warn"),
        ("upstream", "up", "", "requests_per_minute", 5, None, None, "refuse"),
        ("key", "shop", made["id"], "tokens_per_day", 400, 100, 0.25, "refuse"),
    ]
    text = run_limits()
    assert "key shop" in text
    assert "100 of 400" in text
    assert "- of 5" in text


def test_the_server_tells_the_same_and_its_last_minute(tmp_path: Path) -> None:
    (tmp_path / "inhouse.toml").write_text("[limits]\ncost_per_day = 10\nrequests_per_minute = 4")
    set_folder(tmp_path)
    wired = open_context().app
    spend("", requests=3, cost=2.5)
    wired.limiter.mirror.refresh()
    wired.limiter.admit(None)
    found = [
        (one.scope, one.limit, one.used, one.ratio) for one in list_limits(wired, Principal(None))
    ]
    assert found == [
        ("server", "requests_per_minute", 1, 0.25),
        ("server", "cost_per_day", 2.5, 0.25),
    ]
