"""What an operator declares: ``inhouse.toml``, overridden by ``INHOUSE_A__B`` in the environment.

Read once, frozen, strict: an unknown key is an error that names its path. What the system learns
(routes, statuses, decisions) is never here, only in the database.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from inhouse.core.errors import Invalid

FILE_NAME = "inhouse.toml"
STATE_FOLDER = ".inhouse"
_PREFIX = "INHOUSE_"
_RESERVED = ("INHOUSE_REQUIRE", "INHOUSE_BENCH_DATA", "INHOUSE_FULL", "INHOUSE_KEY", "INHOUSE_URL")

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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
    redact_patterns: dict[Name, str] = {}
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

    base_url: str = Field(pattern=r"^https?://")
    """Up to and including the version, such as `https://host/v1`."""
    api_key: SecretStr = SecretStr("")
    """Sent as a bearer token when not empty."""
    hosted: Literal["external", "local"] | None = None
    """Whose machine it is; by default `local` for loopback and private addresses."""
    prices: dict[str, Price] = {}
    """Prices by model name."""
    speaks: Literal["chat", "decisions"] = "chat"
    """`decisions`: its models answer typed questions by `POST /decisions`, with probabilities."""
    stream_usage: bool = True
    """Ask for the token counts of streams (`stream_options.include_usage`); off for servers that
    refuse that field."""
    limits: LimitSettings = LimitSettings()
    """What all calls of this upstream together may use up."""


class OnFailure(Section):
    """What a caller gets instead of an error when nothing could answer."""

    value: float | str | list[Any] | dict[str, Any]
    """A label of the choice, a number in the score's range, a text, `[]` for no spans, or the
    object of a json task."""
    flagged: Literal[True] = True
    """The answer says that it is none of a model; this cannot be switched off."""


RolloutMetric = Literal["success", "correct", "error", "p95", "p99"]


class RolloutSettings(Section):
    """How traffic moves to a candidate."""

    steps: tuple[float, ...] = (10, 30, 50, 60, 70, 80, 90, 100)
    """Per cent of the units that the candidate gets, step by step; the last is 100."""
    margin: float = Field(0.05, gt=0, lt=1)
    """How much worse may still count as not worse, as a share of calls."""
    min_success: float = Field(0.95, ge=0, lt=1)
    """Least share of calls that must be answered in time and valid; 0: no such limit."""
    max_p95_s: float = Field(3.0, ge=0)
    """The time that 95 % of calls must stay below, in seconds; 0: no such limit."""
    min_score: float = Field(0.0, ge=0, lt=1)
    """Least mean score of answers whose truth became known; 0: no such limit."""
    first_calls: int = Field(100, ge=1)
    """Calls of the candidate before the first advance; a rollback waits for none."""
    step_calls: int = Field(50, ge=1)
    """Calls of the candidate at every later step."""
    dwell_s: float = Field(300.0, ge=0)
    """Least time at a step, in seconds."""
    horizon: int = Field(20_000, ge=1)
    """Calls of both after which a rollout without a verdict is held."""
    time_limit_s: float = Field(30 * 86_400.0, gt=0)
    """Seconds after which a rollout without a verdict is held."""
    bake_s: float = Field(86_400.0, ge=0)
    """Seconds for which the incumbent keeps a share after the last step."""
    hold_back: float = Field(5.0, ge=0, lt=100)
    """That share, in per cent."""
    guardrails: tuple[RolloutMetric, ...] = ("success", "correct", "p95", "p99")
    """What rolls a worse candidate back."""
    observed: tuple[RolloutMetric, ...] = ()
    """What is only shown."""
    automation: Literal["off", "ask", "on"] = "ask"
    """Training and rollouts that begin by themselves. `off`: none. `ask`: each one is proposed, and
    begins when a person accepts it. `on`: they begin."""
    min_gain: float = Field(0.05, ge=0, le=10)
    """How much better a version must be to be rolled out by itself: a share of the task score of
    what answers now. One that is faster or cheaper need only be certified not worse."""


class TrainingSettings(Section):
    """When a task is trained again. `rollout.automation` says whether that is proposed or done."""

    recipe: str = ""
    """How to train (`inhouse train recipes`); empty: the default."""
    retrain_after: int = Field(100, ge=0)
    """New corrections, outcomes and imported examples since the snapshot of the last run that are
    enough for another; 0: their number starts none. The first run waits for them too."""
    retrain_days: float = Field(7.0, ge=0, le=3650)
    """Days after the last run that are enough, with anything new at all; 0: never."""
    retrain_on_drift: bool = True
    """Drift that was found after the last run is enough, with anything new at all."""
    min_interval_s: float = Field(3600.0, ge=0)
    """Least time from one run to the next that begins by itself, in seconds. Every failed run in a
    row doubles it, up to 7 days."""


class TaskSettings(Section):
    """A task: a named, typed question. With `builtin`, all else is optional."""

    builtin: Name | None = None
    """Start from a task in the box (`inhouse task list --builtin`); other keys override it."""
    kind: Literal["score", "choice", "text", "spans", "json"] | None = None
    """`score`: a number in `range`. `choice`: one of `labels`. `text`: whatever the model says.
    `spans`: places in the input, each with one of `labels`. `json`: an object that fits
    `schema`."""
    description: str | None = None
    """One sentence for people."""
    labels: tuple[str, ...] | None = None
    """Of a choice: the answers allowed, at least two. Of spans: their types, at least one."""
    schema_: dict[str, Any] | str | None = Field(None, alias="schema")
    """Of json: the JSON Schema of the answer, an object with `properties`; a table here, or a
    `.json` file beside `inhouse.toml`."""
    range: tuple[float, float] | None = None
    """Of a score: lowest and highest value."""
    levels: dict[str, float] | None = None
    """Of a score: words with their values, for models that answer by the likelihood of a word."""
    prompt: str | None = None
    """Jinja template for general models: a file beside `inhouse.toml`, or the text itself. A text
    task without one passes the messages of a chat through as they are."""
    chain: tuple[str, ...] | None = None
    """General models, first choice first."""
    unit: Literal["request", "document", "user"] | None = None
    """What a split is drawn over; calls of one unit meet the same arm."""
    timeout_s: float | None = Field(None, gt=0, le=600)
    """Deadline of one call over all tries, in seconds."""
    try_timeout_s: float | None = Field(None, gt=0, le=600)
    """Longest time for one try while other models are left; by default half of the time left."""
    coalesce: bool | None = None
    """Identical calls at the same moment are asked once; only for models at temperature 0."""
    max_input_tokens: int | None = Field(None, ge=16)
    """Longest input sent to a model, counted as word pieces."""
    on_long: Literal["window", "head", "refuse"] | None = None
    """Longer input: keep beginning and end, keep the beginning, or refuse with 422. Spans are
    counted in what is kept, so a spans task keeps the beginning or refuses."""
    on_failure: OnFailure | Literal["error"] | None = None
    """What to answer when every model failed: an error, or a flagged value."""

    retention_days: int | None = Field(None, ge=1, le=36_500)
    """Days after which the content of calls is erased, with what was said about them and the
    examples made of them; counts stay. Not set: it is kept."""

    rollout: RolloutSettings = RolloutSettings()
    """How traffic moves to a candidate."""
    training: TrainingSettings = TrainingSettings()
    """When the task is trained again."""


class Settings(Section):
    """The whole of `inhouse.toml`."""

    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    store: StoreSettings = StoreSettings()
    recording: RecordingSettings = RecordingSettings()
    breaker: BreakerSettings = BreakerSettings()
    limits: LimitSettings = LimitSettings()
    """What this server may use up in all."""
    upstreams: dict[Name, UpstreamSettings] = {}
    tasks: dict[Name, TaskSettings] = {}
    force: dict[Name, str] = {}
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
    declared = _read_toml(path) if path.exists() else {}
    overrides = _from_environment(_process_environment() if environment is None else environment)
    merged = _merge(declared, overrides)
    if "folder" in merged:
        raise Invalid(f"{path}: unknown key 'folder'", code="settings")
    try:
        return Settings(**merged, folder=folder.resolve())
    except ValidationError as error:
        raise Invalid(_explain(path, error), code="settings", hint=_HINT) from None


_KEY_PART = re.compile(r'"([^"]*)"|([A-Za-z0-9_-]+)')
_HINT = "docs/reference/settings.md lists every key"


def _process_environment() -> Mapping[str, str]:
    return os.environ  # noqa: TID251 - the one place that reads it


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{path}: {error}", code="settings") from None
    except UnicodeDecodeError as error:
        raise Invalid(f"{path}: not UTF-8 ({error.reason})", code="settings") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """INHOUSE_UPSTREAMS__LOCAL__API_KEY=x -> {"upstreams": {"local": {"api_key": "x"}}}."""
    found: dict[str, Any] = {}
    for name, value in environment.items():
        if not name.startswith(_PREFIX) or "__" not in name or name in _RESERVED:
            continue
        *parents, leaf = name.removeprefix(_PREFIX).lower().split("__")
        table = found
        for parent in parents:
            table = table.setdefault(parent, {})
        table[leaf] = value
    return found


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _explain(path: Path, error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    more = error.error_count() - 1
    reason = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
    where = place_of(path, tuple(str(part) for part in first["loc"]))
    return f"{where}: {key}: {reason}" + (f" (and {more} more)" if more else "")


def place_of(path: Path, key: Sequence[str]) -> str:
    """``file:line`` of a key, or of the innermost table around it that the file holds; the file
    alone when the key comes from elsewhere."""
    best, line_of_best = 0, 0
    table: tuple[str, ...] = ()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("["):
            table = found = _dotted(line.strip().strip("[]"))
        else:
            name, equals, _ = line.partition("=")
            found = (*table, *_dotted(name)) if equals and not name.lstrip().startswith("#") else ()
        if len(found) > best and found == tuple(key[: len(found)]):
            best, line_of_best = len(found), number
    return f"{path}:{line_of_best}" if best else f"{path}"


def _dotted(key: str) -> tuple[str, ...]:
    """A dotted key in its parts, quotes taken off."""
    bare = key.split("#")[0] if '"' not in key else key
    return tuple(quoted or plain for quoted, plain in _KEY_PART.findall(bare.strip()))
