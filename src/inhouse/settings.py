"""What an operator declares: ``inhouse.toml``, overridden by ``INHOUSE_A__B`` in the environment.

Read once, frozen, strict: an unknown key is an error that names its path. What the system learns
(routes, statuses, decisions) is never here, only in the database.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from inhouse.core.errors import Invalid
from inhouse.settings_file import explain, merge, read_toml

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
    shadow_inputs: int = Field(0, ge=0)
    """Most calls that are copied to the candidate before it gets any; 0: it starts with some."""
    audit: float = Field(0.0, ge=0, le=1)
    """Share of the calls of a split that is drawn for an audit of the answer, whatever the arm."""
    judge: str = ""
    """General model that audits them, as `<upstream>/<model>`; not for tasks of kind text."""
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


class ChannelSettings(Section):
    """Where alerts are told. A channel has the fields of its kind and no others."""

    kind: Literal["log", "webhook", "email", "apprise"]
    """`log`: a line in the log. `webhook`: a POST with JSON. `email`: by an SMTP server. `apprise`:
    chats, phones and whatever else Apprise reaches; needs the extra `notify`."""
    url: SecretStr = SecretStr("")
    """Of a webhook: its address. Of apprise: an address as Apprise writes it."""
    secret: SecretStr = SecretStr("")
    """Of a webhook: signs the body (HMAC-SHA256, in `x-inhouse-signature`)."""
    host: str = ""
    """Of email: the SMTP server."""
    port: int = Field(0, ge=0, le=65535)
    """Of email: its port; 0 is 465 with `tls`, 587 with `starttls` and 25 with `none`."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """Of email: encrypt after the greeting, from the first byte, or not at all."""
    user: str = ""
    """Of email: who logs in; nobody when empty."""
    password: SecretStr = SecretStr("")
    """Of email: the password of `user`."""
    from_: str = Field("", alias="from")
    """Of email: the sender's address."""
    to: tuple[str, ...] = ()
    """Of email: the addresses that get it."""
    timeout_s: float = Field(10.0, gt=0, le=30)
    """Of webhook and email: longest wait for the other side, in seconds."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        needed, allowed = _CHANNEL_FIELDS[self.kind]
        fields = {info.alias or name: name for name, info in type(self).model_fields.items()}
        set_ = {key for key, name in fields.items() if name in self.model_fields_set}
        if odd := sorted(set_ - {"kind"} - needed - allowed):
            raise ValueError(f"a channel of kind {self.kind} has no {odd[0]}")
        values = {key: getattr(self, fields[key]) for key in needed}
        bare = {
            k: v.get_secret_value() if isinstance(v, SecretStr) else v for k, v in values.items()
        }
        if missing := sorted(key for key, value in bare.items() if not value):
            raise ValueError(f"a channel of kind {self.kind} needs {missing[0]}")
        if self.kind == "webhook" and not bare["url"].startswith(("http://", "https://")):
            raise ValueError("url of a webhook begins with http:// or https://")
        for address in (self.from_, *self.to) if self.kind == "email" else ():
            if "@" not in address or not address.isprintable():
                raise ValueError(f"{address!r} is no address of e-mail")
        if not (self.user + self.password.get_secret_value()).isascii():
            raise ValueError("user and password of email take ASCII only")
        return self


_CHANNEL_FIELDS = {
    "log": (set[str](), set[str]()),
    "webhook": ({"url"}, {"secret", "timeout_s"}),
    "email": ({"host", "from", "to"}, {"port", "tls", "user", "password", "timeout_s"}),
    "apprise": ({"url"}, set[str]()),
}


class NotifySettings(Section):
    """Who hears of alerts. Without a channel they go to the log."""

    levels: tuple[Literal["bad", "warn", "info"], ...] = ("bad", "warn")
    """What is told; everything else is only listed (`inhouse alerts list`)."""
    cooldown_s: float = Field(3600.0, ge=1, le=7 * 86_400)
    """Seconds until an alert is told again: of level `bad` while it lasts, others only after they
    had ended."""
    channels: dict[Name, ChannelSettings] = {}


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
    notify: NotifySettings = NotifySettings()
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
