"""Which setting is in force, and who says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhouse.core.clock import SystemClock
from inhouse.dashboard.settings_view import MASK, Value, values_of, without_secrets
from inhouse.reload import Loaded
from inhouse.settings import load_settings

FILE = """
[server]
port = 9000
workers = 2

[upstreams.up]
base_url = "http://127.0.0.1:8000/v1?sig=lovelace"
api_key = "sk-very-secret"
prices."big/model" = { input_per_million = 0.5 }

[tasks.tone]
builtin = "sentiment"
kind = "choice"
chain = ["up/m"]
"""
ENVIRONMENT = {
    "INHOUSE_SERVER__WORKERS": "3",
    "INHOUSE_RECORDING__DURABILITY": "durable",
    "INHOUSE_UPSTREAMS__UP__API_KEY": "sk-other-secret",
}


def look(folder: Path, *, error: str = "", waits: tuple[str, ...] = ()) -> dict[str, Value]:
    state = Loaded(SystemClock().now(), 1, error, waits)
    settings = load_settings(folder, ENVIRONMENT)
    return {value.key: value for value in values_of(settings, state)}


def test_every_value_says_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "inhouse.toml").write_text(FILE)
    found = look(tmp_path)
    told = {key: (one.value, one.source, one.line) for key, one in found.items()}
    assert told["server.port"] == ("9000", "file", 3)
    assert told["server.workers"] == ("3", "environment", None)
    assert told["server.host"] == ('"127.0.0.1"', "default", None)
    assert told["recording.durability"] == ('"durable"', "environment", None)
    assert told["tasks.tone.chain"] == ('["up/m"]', "file", 14)
    assert told["upstreams.up.prices.big/model.input_per_million"][:2] == ("0.5", "file")
    assert not any(one.waits for one in found.values())


def test_secrets_are_masked(tmp_path: Path) -> None:
    (tmp_path / "inhouse.toml").write_text(FILE)
    found = look(tmp_path)
    assert found["upstreams.up.api_key"].value == MASK
    assert found["upstreams.up.base_url"].value == f'"http://127.0.0.1:8000/v1?sig={MASK}"'
    shown = " ".join(one.value for one in found.values())
    assert not any(secret in shown for secret in ("secret", "lovelace"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/v1?api-key=geheim&v=2", f"https://h/v1?api-key={MASK}&v={MASK}"),
        ("postgresql://ada:geheim@h/d?password=x", f"postgresql://ada:{MASK}@h/d?password={MASK}"),
        ("why?a=b", "why?a=b"),
    ],
)
def test_addresses_show_no_secrets(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_a_file_that_is_newer_than_what_serves_still_says_where(tmp_path: Path) -> None:
    (tmp_path / "inhouse.toml").write_text(FILE)
    settings = load_settings(tmp_path, {})
    (tmp_path / "inhouse.toml").write_text(FILE.replace("9000", "9001"))
    for state in (
        Loaded(SystemClock().now(), 1, "it is wrong"),
        Loaded(SystemClock().now(), 2, "", ("server",)),
    ):
        port = next(one for one in values_of(settings, state) if one.key == "server.port")
        assert (port.value, port.source, port.line) == ("9000", "file", 3)
        assert port.waits == bool(state.needs_restart)


def test_a_folder_without_a_file_has_defaults(tmp_path: Path) -> None:
    assert {one.source for one in values_of(load_settings(tmp_path, {}), _fresh())} == {"default"}


def _fresh() -> Loaded:
    return Loaded(SystemClock().now(), 1)
