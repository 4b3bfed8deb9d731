"""``inhouse rollout simulate``: the proof of the rule, and the pages and pictures that show it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inhouse.rollout.kept import Kept
    from inhouse.rollout.report import Summary
    from inhouse.rollout.scenarios import Scenario
    from inhouse.rollout.simulate import Way

_BEGIN, _END = "<!-- figures:rollouts -->", "<!-- /figures:rollouts -->"
_INTERRUPTED = 130


class Through(StrEnum):
    """What our rule runs through; see ``rollout.simulate``."""

    ENGINE = "engine"
    LOOP = "loop"


def simulate(
    scenario: Annotated[
        list[str] | None, typer.Option(help="Only this scenario; may be repeated.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs of every rule in every scenario.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Master seed.")] = 5,
    processes: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 2,
    through: Annotated[
        Through,
        typer.Option(
            help="engine: evidence and decisions in memory, beside the other rules. loop: "
            "our rule alone, through recorded calls, the stored route and the reconcile loop "
            "in a database in memory. Both decide the same; the loop takes much longer."
        ),
    ] = Through.ENGINE,
    batch: Annotated[
        int, typer.Option(min=1, help="Requests that are recorded between two looks.")
    ] = 1,
    keep: Annotated[
        Path | None,
        typer.Option(help="File of runs, which are not played again; new ones are added to it."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="SVG file of the ends, to write.")] = None,
    docs: Annotated[
        Path | None,
        typer.Option(help="Markdown page whose block of figures is written anew."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Simulated rollouts where the truth is known: how often our rule and others are wrong.

    Needs no project folder. Ctrl-C stops it and shows what there is by then. Fails when a bar is
    refuted.
    """
    from inhouse.cli.context import open_context
    from inhouse.rollout import simulate as simulated
    from inhouse.rollout.kept import Kept

    chosen = _chosen(scenario or [])
    if docs is not None:
        _split(docs)
    way = simulated.Way(through=simulated.Through(through.value), batch=batch)
    kept = Kept(keep, seed, way)
    finished = _run(kept, chosen, runs, seed, processes, way)
    found = _summaries(kept, chosen, runs, way)
    if finished and docs is not None:
        _write_docs(docs, found, seed, plot, way)
    if finished and plot is not None:
        from inhouse.rollout.plot import svg

        _write(plot, svg(s for s in found if len(chosen) == 1 or _compared(s, found)))
    if as_json:
        about = {"master_seed": seed, "runs": runs, "through": through.value, "batch": batch}
        open_context().print_json({**about, "finished": finished, "results": found})
    else:
        _tell(found, seed, runs, way, finished=finished)
    if not finished:
        raise typer.Exit(_INTERRUPTED)
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


def _rules(way: Way) -> list[str]:
    """The other rules have no loop to run through."""
    from inhouse.rollout.simulate import EVERY_RULE, OURS, PLAINLY

    return [*EVERY_RULE] if way == PLAINLY else [OURS]


def _run(
    kept: Kept, chosen: list[Scenario], runs: int, seed: int, processes: int, way: Way
) -> bool:
    """Play what is not kept yet. False when somebody stopped it."""
    from contextlib import closing

    from rich.console import Console
    from rich.progress import Progress

    from inhouse.rollout.simulate import rules_of, simulate

    console, rules = Console(stderr=True), _rules(way)
    total = runs * sum(len(set(rules_of(one)) & set(rules)) for one in chosen)
    known = sum(len(some) for _, _, some in kept.rows(chosen, rules, runs))
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        shown = bar.add_task("simulating", total=total, completed=known)
        pieces = simulate(
            chosen,
            runs=runs,
            master=seed,
            processes=processes,
            rules=rules,
            way=way,
            known=kept.runs,
        )
        try:
            with closing(pieces):
                for piece in pieces:
                    kept.add(piece)
                    bar.update(shown, advance=len(piece.runs), description=piece.key[0])
        except KeyboardInterrupt:
            return False
    return True


def _summaries(kept: Kept, chosen: list[Scenario], runs: int, way: Way) -> list[Summary]:
    from inhouse.rollout.report import summarise
    from inhouse.rollout.simulate import OURS

    return [
        summarise(scenario, rule, some, judged=rule == OURS)
        for scenario, rule, some in kept.rows(chosen, _rules(way), runs)
    ]


def _tell(found: list[Summary], seed: int, runs: int, way: Way, *, finished: bool) -> None:
    from inhouse.rollout.report import lines

    typer.echo(f"master seed {seed}, runs 0 to {runs - 1}, through the {way.through}")
    if not finished:
        typer.echo("stopped before its end; these are the runs that were done")
    for summary in found:
        typer.echo("\n".join(lines(summary)))


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


def _write_docs(docs: Path, found: list[Summary], seed: int, plot: Path | None, way: Way) -> None:
    from inhouse.rollout.report import page
    from inhouse.rollout.simulate import PLAINLY

    words = [f"--runs {max(one.runs for one in found)} --seed {seed}"]
    if way != PLAINLY:
        words.append(f"--through {way.through} --batch {way.batch}")
    if plot is not None:
        words.append(f"--plot {plot}")
    command = f"inhouse rollout simulate {' '.join(words)} --docs {docs}"
    before, behind = _split(docs)
    block = page(found, master=seed, command=command)
    _write(docs, f"{before}{_BEGIN}\n{block}\n{_END}{behind}")


def _write(path: Path, text: str) -> None:
    from inhouse.cli.output import written

    with written(path) as file:
        file.write(text.encode("utf-8"))
