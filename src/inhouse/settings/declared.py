"""The whole of ``inhouse.toml``, and where the server, its database and its upstreams are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator

from inhouse.core.errors import Invalid
from inhouse.core.urls import take_apart
from inhouse.settings.file import explain, merge, read_toml
from inhouse.settings.notify import NotifySettings
from inhouse.settings.section import Name, Section, Variable
from inhouse.settings.tasks import TaskSettings

FILE_NAME = "inhouse.toml"
STATE_FOLDER = ".inhouse"
RESERVED = ("INHOUSE_REQUIRE", "INHOUSE_BENCH_DATA", "INHOUSE_FULL", "INHOUSE_KEY", "INHOUSE_URL")
"""Variables of the environment that are no keys."""
_PREFIX = "INHOUSE_"


class ServerSettings(Section):
    """Where the server listens."""

    host: str = "127.0.0.1"
    """Address to bind. Any other than a loopback address needs at least one key."""
    port: int = Field(8040, ge=0, le=65535)
    """TCP port; 0 takes a free one."""
    workers: int = Field(1, ge=0, le=16)
    """Threads of the embedded job worker; 0 leaves jobs to `inhouse worker`."""
    body_limit_mb: int = Field(10, ge=1, le=1024)
    """Largest body of a request, in MiB; more is refused with 413."""


class RecordingSettings(Section):
    """How calls are recorded."""

    durability: Literal["fast", "durable"] = "fast"
    """`fast`: answer first, at most 50 ms of traffic at risk when the process is killed. `durable`:
    answer after the commit."""
    on_record_failure: Literal["refuse", "answer"] = "refuse"
    """When nothing can be recorded (disk full): refuse calls with 503, or answer unrecorded."""
    content: Literal["full", "hashes"] = "full"
    """`hashes`: inputs and outputs are kept only as SHA-256; no data set can be made of them."""
    redact: tuple[str, ...] = ()
    """Built-in rules applied before anything is stored: `email`, `phone`, `card`, `iban`, `ip`,
    `secret`."""
    redact_patterns: dict[Name, str] = Field({})
    """Rules of your own: a name and a regular expression; a match is stored as `[name]`."""


class BreakerSettings(Section):
    """When a backend that fails is left alone."""

    failures: int = Field(5, ge=1, le=1000)
    """Failures in a row that open the breaker."""
    open_s: float = Field(300.0, gt=0, le=86_400)
    """Seconds until one call may try the backend again; up to 10 % are added at random."""


class LimitSettings(Section):
    """What may be used up; what is not set is not limited."""

    requests_per_minute: int | None = Field(None, ge=1)
    """Calls in any 60 seconds, of one gateway process."""
    tokens_per_minute: int | None = Field(None, ge=1)
    """Tokens in and out in any 60 seconds, of one gateway process."""
    requests_per_day: int | None = Field(None, ge=1)
    """Calls in a day (UTC), over all processes on one database."""
    tokens_per_day: int | None = Field(None, ge=1)
    """Tokens in and out in a day (UTC), over all processes."""
    cost_per_day: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Cost in a day (UTC) over all processes, in the currency of the prices."""
    on_limit: Literal["refuse", "throttle", "warn"] = "refuse"
    """`refuse`: 429 with Retry-After. `throttle`: calls over a minute's limit wait, at most 10 s,
    and over a day's are refused; an upstream is asked again once it has room within 10 s, else the
    next model is. `warn`: answer, count and say so."""
    warn_at: float = Field(0.8, gt=0, le=1)
    """Share of a day's limit from which answers carry a warning."""


class DatabaseSettings(Section):
    """Where everything is recorded."""

    url: str = ""
    """`postgresql://...`; empty means the SQLite file `.inhouse/inhouse.db`."""


class StoreSettings(Section):
    """Where the weights of models lie."""

    path: str = ""
    """Folder of the ModelStore; empty means `.inhouse/store`."""
    scrub_days: float = Field(7.0, ge=0, le=3650)
    """Days after which all files are read again and checked; 0: never by itself."""


class Price(Section):
    """What an upstream charges, in the currency of your choice per million tokens."""

    input_per_million: float = Field(0.0, ge=0)
    """For a million tokens sent."""
    output_per_million: float = Field(0.0, ge=0)
    """For a million tokens received."""


class UpstreamSettings(Section):
    """A remote model server that speaks OpenAI's HTTP API."""

    base_url: str
    """Up to and including the version, such as `https://host/v1`."""
    api_key: SecretStr = SecretStr("")
    """Sent as a bearer token when not empty."""
    hosted: Literal["external", "local"] | None = None
    """Whose machine it is; by default `local` for loopback and private addresses."""
    prices: dict[str, Price] = Field({})
    """Prices by model name."""
    speaks: Literal["chat", "decisions"] = "chat"
    """`decisions`: its models answer typed questions by `POST /decisions`, with probabilities."""
    stream_usage: bool = True
    """Ask for the token counts of streams (`stream_options.include_usage`); off for servers that
    refuse that field."""
    limits: LimitSettings = LimitSettings()
    """What all calls of this upstream together may use up."""

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        take_apart(value)
        return value

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        key = value.get_secret_value()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ValueError("holds a space, a line end or a letter that no key has; copy it again")
        return value


class Settings(Section):
    """The whole of `inhouse.toml`."""

    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    store: StoreSettings = StoreSettings()
    recording: RecordingSettings = RecordingSettings()
    breaker: BreakerSettings = BreakerSettings()
    limits: LimitSettings = LimitSettings()
    """What this server may use up in all."""
    upstreams: dict[Name, UpstreamSettings] = Field({})
    tasks: dict[Name, TaskSettings] = Field({})
    notify: NotifySettings = NotifySettings()
    force: dict[Name, str] = Field({})
    """Task to model reference: pins a task for a test. Forced calls never count as evidence."""
    folder: Path = Field(Path(), exclude=True)
    """The project folder; not a key of the file."""

    @property
    def state(self) -> Path:
        return self.folder / STATE_FOLDER

    @property
    def database_url(self) -> str:
        return self.database.url or f"sqlite:///{self.state / 'inhouse.db'}"

    @property
    def store_path(self) -> Path:
        return self.folder / self.store.path if self.store.path else self.state / "store"


def load_settings(folder: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Read ``inhouse.toml`` of a project folder (none is fine) and the environment.

    Raises Invalid naming file, line, key and reason when the file is not TOML, a key is unknown, or
    a value does not fit.
    """
    path = folder / FILE_NAME
    declared = read_toml(path) if path.exists() else {}
    overrides = _from_environment(_process_environment() if environment is None else environment)
    merged = merge(declared, overrides)
    if "folder" in merged:
        raise Invalid(f"{path}: unknown key 'folder'", code="settings")
    try:
        return Settings(**merged, folder=folder.resolve())
    except ValidationError as error:
        raise Invalid(explain(path, error), code="settings", hint=_HINT) from None


_HINT = "docs/reference/settings.md lists every key"


def _process_environment() -> Mapping[str, str]:
    return os.environ  # noqa: TID251 - the one place that reads it


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """INHOUSE_UPSTREAMS__LOCAL__API_KEY=x -> {"upstreams": {"local": {"api_key": "x"}}}. Raises
    Invalid when one is a value and a table."""
    found: dict[str, Any] = {}
    for name, value in environment.items():
        if not name.startswith(_PREFIX) or "__" not in name or name in RESERVED:
            continue
        *parents, leaf = name.removeprefix(_PREFIX).lower().split("__")
        table = found
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise Invalid(f"{name}: another variable sets {parent} as a whole", code="settings")
        if isinstance(table.get(leaf), dict):
            raise Invalid(f"{name}: another variable sets a part of it", code="settings")
        table[leaf] = Variable(value)
    return found
