"""``inhouse keys``: who may call, and how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from inhouse.gateway.keys import Key
    from inhouse.settings import LimitSettings

app = typer.Typer(name="keys", help="API keys.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RequestsPerMinute = Annotated[int | None, typer.Option(help="Most calls in any 60 seconds.")]
TokensPerMinute = Annotated[
    int | None, typer.Option(help="Most tokens, in and out, in any 60 seconds.")
]
RequestsPerDay = Annotated[int | None, typer.Option(help="Most calls in a day (UTC).")]
TokensPerDay = Annotated[int | None, typer.Option(help="Most tokens, in and out, in a day (UTC).")]
CostPerDay = Annotated[
    float | None, typer.Option(help="Most cost in a day (UTC), in the currency of the prices.")
]
OnLimit = Annotated[
    str | None, typer.Option(help="What then: refuse (the default), throttle or warn.")
]
WarnAt = Annotated[
    float | None, typer.Option(help="Share of a day's limit from which answers carry a warning.")
]


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Who or what the key is for.")],
    role: Annotated[
        str, typer.Option(help="application, viewer, reviewer, operator or admin.")
    ] = "application",
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    requests_per_day: RequestsPerDay = None,
    tokens_per_day: TokensPerDay = None,
    cost_per_day: CostPerDay = None,
    on_limit: OnLimit = None,
    warn_at: WarnAt = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once. The first key closes an open server to all others."""
    from inhouse.cli.context import open_context
    from inhouse.core.errors import Invalid
    from inhouse.gateway import keys

    if role not in set(keys.Role):
        raise Invalid(f"there is no role {role!r}", code="role", hint=", ".join(keys.Role))
    limits = keys.declare_limits(
        _given(
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            requests_per_day=requests_per_day,
            tokens_per_day=tokens_per_day,
            cost_per_day=cost_per_day,
            on_limit=on_limit,
            warn_at=warn_at,
        )
    )
    context = open_context()
    with context.app.database.write() as unit:
        at = context.app.clock.now()
        key_id, key = keys.create(unit, name, keys.Role(role), at, limits)
    if as_json:
        context.print_json({"id": key_id, "name": name, "role": role, "key": key})
        return
    typer.echo(key)
    typer.echo(f"{role} key {key_id} for {name}; it is shown this once", err=True)


@app.command()
def limit(
    key_id: str,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    requests_per_day: RequestsPerDay = None,
    tokens_per_day: TokensPerDay = None,
    cost_per_day: CostPerDay = None,
    on_limit: OnLimit = None,
    warn_at: WarnAt = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Drop all limits that the key has, first.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Limit a key; limits that are not named stay. A running server follows within a second."""
    from inhouse.cli.context import open_context
    from inhouse.core.errors import Invalid
    from inhouse.gateway import keys

    given = _given(
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        requests_per_day=requests_per_day,
        tokens_per_day=tokens_per_day,
        cost_per_day=cost_per_day,
        on_limit=on_limit,
        warn_at=warn_at,
    )
    if not given and not clear:
        raise Invalid(
            "no limit is named", code="key-limits", hint="see `inhouse keys limit --help`"
        )
    context = open_context()
    with context.app.database.write() as unit:
        before = {} if clear else _set_fields(keys.get(unit, key_id).limits)
        keys.set_limits(unit, key_id, keys.declare_limits({**before, **given}))
        key = keys.get(unit, key_id)
    if as_json:
        context.print_json({"id": key_id, "limits": _set_fields(key.limits)})
    else:
        typer.echo(f"{key_id} {_limits(key)}")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """Every key, revoked ones too. The keys themselves are not stored."""
    from inhouse.cli.context import open_context
    from inhouse.gateway import keys

    context = open_context()
    with context.app.database.read() as unit:
        found = keys.list_keys(unit)
    if as_json:
        context.print_json([_as_json(key) for key in found])
        return
    if not found:
        typer.echo("no keys yet: inhouse keys create")
    for key in found:
        revoked = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "active"
        made = f"{key.created_at:%Y-%m-%d %H:%M}"
        limits = f"  ({_limits(key)})" if key.limits or key.unread else ""
        typer.echo(f"{key.id}  {key.role:<11} {made}  {revoked:<24} {key.name}{limits}")


@app.command()
def revoke(key_id: str, as_json: AsJson = False) -> None:
    """Close a key for good. A running server follows within a second."""
    from inhouse.cli.context import open_context
    from inhouse.gateway import keys

    context = open_context()
    with context.app.database.write() as unit:
        keys.revoke(unit, key_id, context.app.clock.now())
    if as_json:
        context.print_json({"id": key_id, "revoked": True})
    else:
        typer.echo(f"{key_id} opens nothing any more")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _set_fields(limits: LimitSettings | None) -> dict[str, Any]:
    return {} if limits is None else limits.model_dump(exclude_defaults=True)


def _as_json(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
        "limits": _set_fields(key.limits),
        "unread": key.unread,
    }


def _limits(key: Key) -> str:
    from inhouse.gateway.limits.refusals import figure

    words = [
        f"{name} {value if isinstance(value, str) else figure(value)}"
        for name, value in _set_fields(key.limits).items()
    ]
    words += [f"not readable: {name}" for name in key.unread]
    return ", ".join(words) or "has no limits"
