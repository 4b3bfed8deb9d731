"""``inhouse rollout``: traffic that moves to a candidate by evidence."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inhouse.rollout.bars import Run
    from inhouse.rollout.report import Summary
    from inhouse.rollout.scenarios import Scenario
    from inhouse.rollout.simulate import Key

app = typer.Typer(
    name="rollout", help="Traffic that moves to a candidate by evidence.", no_args_is_help=True
)

_BEGIN, _END = "<!-- figures:rollouts -->", "<!-- /figures:rollouts -->"


@app.callback()
def rollout() -> None:
    """Keeps ``simulate`` a command of its own while it is the only one."""


@app.command()
def simulate(
    scenario: Annotated[
        list[str] | None, typer.Option(help="Only this scenario; may be repeated.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs of every rule in every scenario.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Master seed.")] = 5,
    processes: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 2,
    plot: Annotated[Path | None, typer.Option(help="SVG file of the ends, to write.")] = None,
    docs: Annotated[
        Path | None,
        typer.Option(help="Markdown page whose block of figures is written anew."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Simulated rollouts where the truth is known: how often our rule and others are wrong.

    Needs no project folder. Ctrl-C stops it. Fails when a bar is refuted.
    """
    from inhouse.cli.context import open_context
    from inhouse.rollout.report import lines

    chosen = _chosen(scenario or [])
    if docs is not None:
        _split(docs)
    found = _run(chosen, runs, seed, processes)
    if docs is not None:
        _write_docs(docs, found, seed, plot)
    if plot is not None:
        from inhouse.rollout.plot import svg

        _write(plot, svg(s for s in found if len(chosen) == 1 or _compared(s, found)))
    if as_json:
        open_context().print_json({"master_seed": seed, "runs": runs, "results": found})
    else:
        typer.echo(f"master seed {seed}, runs 0 to {runs - 1}")
        for summary in found:
            typer.echo("\n".join(lines(summary)))
    if any(bar.refuted for summary in found for bar in summary.bars):
        raise typer.Exit(1)


def _chosen(names: list[str]) -> list[Scenario]:
    from inhouse.core.errors import NotFound
    from inhouse.rollout.scenarios import SCENARIOS

    known = {one.name: one for one in SCENARIOS}
    for name in names:
        if name not in known:
            raise NotFound(
                f"there is no scenario {name}", code="no-scenario", hint=", ".join(known)
            )
    return [one for one in SCENARIOS if not names or one.name in names]


def _run(chosen: list[Scenario], runs: int, seed: int, processes: int) -> list[Summary]:
    from rich.console import Console
    from rich.progress import Progress

    from inhouse.rollout.report import summarise
    from inhouse.rollout.simulate import OURS, rules_of, simulate

    console = Console(stderr=True)
    total = runs * sum(len(rules_of(one)) for one in chosen)
    done: dict[Key, list[Run]] = defaultdict(list)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        shown = bar.add_task("simulating", total=total)
        for key, some in simulate(chosen, runs=runs, master=seed, processes=processes):
            done[key] += some
            bar.update(shown, advance=len(some), description=key[0])
    return [
        summarise(one, rule, done[one.name, rule], judged=rule == OURS)
        for one in chosen
        for rule in rules_of(one)
    ]


def _compared(summary: Summary, found: list[Summary]) -> bool:
    """Is there another rule in its scenario?"""
    return sum(one.scenario == summary.scenario for one in found) > 1


def _split(docs: Path) -> tuple[str, str]:
    """The page before and behind its block of figures."""
    from inhouse.core.errors import Invalid

    try:
        text = docs.read_text(encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{docs}: {error.strerror or error}", code="no-figures-block") from None
    before, begin, rest = text.partition(_BEGIN)
    _, end, behind = rest.partition(_END)
    if not begin or not end:
        raise Invalid(
            f"{docs} has no block of figures",
            code="no-figures-block",
            hint=f"write {_BEGIN} and {_END} where they belong",
        )
    return before, behind


def _write_docs(docs: Path, found: list[Summary], seed: int, plot: Path | None) -> None:
    from inhouse.rollout.report import page

    drawn = f" --plot {plot}" if plot else ""
    command = f"inhouse rollout simulate --runs {found[0].runs} --seed {seed}{drawn} --docs {docs}"
    before, behind = _split(docs)
    block = page(found, master=seed, command=command)
    _write(docs, f"{before}{_BEGIN}\n{block}\n{_END}{behind}")


def _write(path: Path, text: str) -> None:
    from inhouse.cli.output import written

    with written(path) as file:
        file.write(text.encode("utf-8"))
