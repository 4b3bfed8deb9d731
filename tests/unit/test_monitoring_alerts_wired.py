"""Alerts of the wired product: settings, channel, command line."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from inhouse.bootstrap import bootstrap
from inhouse.cli.main import app as cli
from inhouse.monitoring import telling
from inhouse.monitoring.telling import Results, Teller
from inhouse.notify.base import DeliveredInPart, NotDelivered, Notice, trial
from inhouse.settings import load_settings
from inhouse.testing.clock import FrozenClock
from inhouse.testing.webhook_server import WebhookServer

PATIENCE_S = 30.0


def test_the_wired_product_tells_and_shows(tmp_path: Path) -> None:
    """From a change of inhouse.toml to the channel, the command line, and other channels."""

    def run(*words: str) -> str:
        done = CliRunner().invoke(cli, ["--dir", str(tmp_path), "alerts", *words])
        assert done.exit_code == 0, done.output + str(done.exception)
        return done.stdout

    toml = tmp_path / "inhouse.toml"
    with WebhookServer() as hook:
        toml.write_text(f'[notify.channels.desk]\nkind = "webhook"\nurl = "{hook.url}"\n', "utf-8")
        app = bootstrap(load_settings(tmp_path, {}))
        assert "no alerts" in run("list")
        app.settings_error = "line 3: unknown key"
        app.alerter.tick()
        app.alerter.join(PATIENCE_S)
        assert [one.json["code"] for one in hook.deliveries] == ["settings-invalid"]
        (listed,) = json.loads(run("list", "--json"))
        assert (listed["code"], listed["raised"], listed["ended_at"]) == (
            "settings-invalid",
            1,
            None,
        )
        assert run("list", "--open").startswith("open  bad ")
        shown = run("show", "settings-invalid")
        assert "desk: heard it" in shown
        assert "docs/runbooks/settings-invalid.md" in shown
        toml.write_text(
            '[notify]\nlevels = ["info"]\n[notify.channels.log]\nkind = "log"\n', "utf-8"
        )
        app.configure(load_settings(tmp_path, {}))
        assert set(app.alerter._teller.channels) == {"log"}
        never = {"channel": "log", "result": "failed"}
        assert REGISTRY.get_sample_value("inhouse_notices_total", never) == 0
        assert app.alerter._rules.levels == {"info"}
        app.database.close()
    done = CliRunner().invoke(cli, ["--dir", str(tmp_path), "alerts", "show", "drift"])
    assert getattr(done.exception, "code", "") == "alert-not-found"


class Refusing:
    def __init__(self, error: NotDelivered) -> None:
        self.error = error

    def send(self, notice: Notice) -> None:
        raise self.error


def test_notices_that_hang_hold_a_stop_up_once_not_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FrozenClock()
    monkeypatch.setattr(telling, "monotonic", clock.monotonic)

    class Hanging(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            clock.advance(timeout or 0.0)

    teller, began = Teller({}), clock.monotonic()
    teller._under_way.update(Hanging() for _ in range(8))
    teller.join(5.0)
    assert clock.monotonic() - began == 5.0


def test_who_heard_it_in_part_has_heard_it() -> None:
    """Others behind the channel would hear a repeat."""
    channels = {"none": Refusing(NotDelivered("away")), "some": Refusing(DeliveredInPart("c@d"))}
    teller, told = Teller(channels), list[Results]()
    teller.tell(trial(at=datetime.now(UTC), source="p1"), channels, told.append)
    teller.join(PATIENCE_S)
    assert told == [{"none": "away", "some": None}]
