"""``inhouse interactions lineage`` and ``inhouse versions lineage``: where from, and where to."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree

    from inhouse.monitoring.nodes import (
        InteractionLineage,
        RunNode,
        SnapshotNode,
        VersionLineage,
        VersionNode,
    )

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_ROUTES = 5
_UNCUT = 10_000


def of_interaction(
    interaction_id: Annotated[str, typer.Argument(metavar="ID", help="Of a call, or of feedback.")],
    as_json: AsJson = False,
) -> None:
    """Where a call's answer came from, and what learned from the call."""
    from inhouse.cli.context import open_context
    from inhouse.monitoring import lineage

    context = open_context()
    with context.app.database.read() as unit:
        found = lineage.of_interaction(unit, interaction_id)
    if as_json:
        context.print_json(asdict(found))
    else:
        _print(context.console, _of_call(found))


def of_version(
    reference: Annotated[str, typer.Argument(metavar="TASK@N")],
    before: Annotated[str | None, typer.Option(help="Calls older than this one.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many calls.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What a version was made of, down to the calls that it learned from, newest first."""
    from inhouse.cli.context import open_context
    from inhouse.core.errors import Invalid
    from inhouse.core.references import ReferenceKind, parse_reference
    from inhouse.monitoring import lineage

    parsed = parse_reference(reference)
    if parsed.kind is not ReferenceKind.VERSION:
        raise Invalid(f"{reference} is no model version", hint="write TASK@N")
    context = open_context()
    with context.app.database.read() as unit:
        found = lineage.of_version(unit, parsed.name, parsed.number, before=before, limit=limit)
    if as_json:
        context.print_json(asdict(found))
        return
    tree = _tree(_version_words(found.version))
    _add_routes(tree, found.version)
    _add_origin(tree, found)
    _print(context.console, tree)
    if found.next:
        typer.echo(f"older calls: --before {found.next}", err=True)


def _print(console: Console, tree: Tree) -> None:
    """Lines as long as they are where nobody looks at them in a terminal."""
    console.print(tree, width=None if console.is_terminal else _UNCUT)


def _of_call(found: InteractionLineage) -> Tree:
    call = found.call
    gone = ", erased" if call.erased else ""
    tree = _tree(f"call {call.id}  {_time(call.created_at)}  {call.task or 'chat'}{gone}")
    by = f"{call.status} by {call.reference or 'nobody'}"
    if found.arm:
        by += f" as {found.arm}"
    if found.route_revision is not None:
        by += f", revision {found.route_revision}"
    answered = _add(tree, by)
    if found.answered_by is not None:
        _add_origin(answered, found.answered_by)
    for said in found.feedback:
        _add(tree, f"{said.kind} {said.id} by {said.author or 'unknown'}, {_time(said.created_at)}")
    for use in found.uses:
        gone = ", erased" if use.erased else ""
        words = f"{_snapshot_words(use.snapshot)}: {use.split} example {use.position}{gone}"
        branch = _add(tree, words)
        for trained in use.runs:
            run = _add(branch, _run_words(trained.run))
            if trained.version is not None:
                _add_routes(_add(run, _version_words(trained.version)), trained.version)
    if not found.uses:
        _add(tree, "no snapshot holds an example of it")
    return tree


def _add_origin(tree: Tree, found: VersionLineage) -> None:
    branch = tree if found.run is None else _add(tree, _run_words(found.run))
    if found.snapshot is None:
        _add(branch, "its snapshot is not known")
        return
    frozen = _add(branch, _snapshot_words(found.snapshot))
    words = f"{found.from_calls:,} examples from calls, {found.from_imports:,} from files"
    origins = _add(frozen, words)
    for one in found.calls:
        call = one.call
        said = ", ".join(f"{each.kind} by {each.author or 'unknown'}" for each in one.feedback)
        gone = "erased" if call.erased else said or "nothing said any more"
        answer = call.reference or "nobody"
        _add(origins, f"{call.id}  {_time(call.created_at)}  {one.split}  {answer}: {gone}")


def _add_routes(tree: Tree, version: VersionNode) -> None:
    routes = version.routes
    for stand in routes[:_ROUTES]:
        until = "now" if stand.until is None else _time(stand.until)
        share = "" if stand.role == "fallback" else f" of {stand.weight_bp / 100:g} %"
        _add(
            tree,
            f"{stand.role}{share} on {stand.task}, revision {stand.revision}, "
            f"{_time(stand.since)} to {until}, by {stand.actor}: {stand.reason or '-'}",
        )
    if len(routes) > _ROUTES:
        _add(tree, f"and {len(routes) - _ROUTES} earlier revisions")
    if not routes:
        _add(tree, "it stood on no route")


def _version_words(version: VersionNode) -> str:
    return f"version {version.reference}, {version.status}, {_time(version.created_at)}"


def _run_words(run: RunNode) -> str:
    when = "" if run.finished_at is None else f", {_time(run.finished_at)}"
    return f"training run {run.id}, {run.recipe}, {run.status}{when}, by {run.actor}"


def _snapshot_words(frozen: SnapshotNode) -> str:
    splits = ", ".join(f"{count:,} {split}" for split, count in frozen.examples.items())
    gone = f"; {frozen.erased:,} erased since" if frozen.erased else ""
    return f"snapshot {frozen.content_hash[:12]}, {_time(frozen.created_at)} ({splits}{gone})"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _tree(words: str) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    return Tree(Text(words))


def _add(tree: Tree, words: str) -> Tree:
    from rich.text import Text

    return tree.add(Text(words))
