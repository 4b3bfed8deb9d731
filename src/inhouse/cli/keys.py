"""``inhouse keys``: who may call."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(name="keys", help="API keys.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Who or what the key is for.")],
    role: Annotated[
        str, typer.Option(help="application, viewer, reviewer, operator or admin.")
    ] = "application",
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once. The first key closes an open server to all others."""
    from inhouse.cli.context import open_context
    from inhouse.core.errors import Invalid
    from inhouse.gateway import keys

    if role not in set(keys.Role):
        raise Invalid(f"there is no role {role!r}", code="role", hint=", ".join(keys.Role))
    context = open_context()
    with context.app.database.write() as unit:
        key_id, key = keys.create(unit, name, keys.Role(role), context.app.clock.now())
    if as_json:
        context.print_json({"id": key_id, "name": name, "role": role, "key": key})
        return
    typer.echo(key)
    typer.echo(f"{role} key {key_id} for {name}; it is shown this once", err=True)


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """Every key, revoked ones too. The keys themselves are not stored."""
    from inhouse.cli.context import open_context
    from inhouse.gateway import keys

    context = open_context()
    with context.app.database.read() as unit:
        found = keys.list_keys(unit)
    if as_json:
        context.print_json(found)
        return
    for key in found:
        revoked = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "active"
        typer.echo(
            f"{key.id}  {key.role:<11} {key.created_at:%Y-%m-%d %H:%M}  {revoked:<24} {key.name}"
        )


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
