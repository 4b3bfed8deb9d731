"""``inhouse experiment``: two references of a task compared at a fixed split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inhouse.rollout.experiment_records import ExperimentRecord

app = typer.Typer(
    name="experiment", help="Two references of a task, compared.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Why = Annotated[str, typer.Option("--reason", help="Why; kept with the experiment.")]
Weight = Annotated[float, typer.Option(min=1, max=99, help="Per cent of the units that get B.")]
Looks = Annotated[int, typer.Option(min=1, max=20, help="How often the figures are looked at.")]
Alpha = Annotated[
    float, typer.Option(min=0.001, max=0.2, help="Chance of a false winner over all looks.")
]


@app.command()
def start(
    task: str,
    a: Annotated[str, typer.Option("--a", help="Reference, such as sentiment@1.")],
    b: Annotated[str, typer.Option("--b", help="Reference to compare it with.")],
    horizon: Annotated[
        int, typer.Option(min=1, help="Outcomes of both arms together at which it ends.")
    ],
    reason: Why,
    weight: Weight = 50.0,
    metric: Annotated[
        str, typer.Option(help="What is compared: success, correct, error or latency.")
    ] = "success",
    looks: Looks = 5,
    alpha: Alpha = 0.05,
    days: Annotated[
        float | None,
        typer.Option(help="Days after which it ends without a winner; default: the task's limit."),
    ] = None,
    audit: Annotated[
        float | None,
        typer.Option(help="Share of its calls to draw for labels, such as 0.05, not the task's."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help='General model that labels them, not the task\'s; "" for none.'),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Split a task between two references. A running server counts, looks and ends it.

    Time limit, audit and judge are those of [tasks.NAME.rollout], unless you say otherwise.
    """
    from inhouse.cli.context import open_context
    from inhouse.rollout import experiments
    from inhouse.rollout.declared import question_of

    context = open_context()
    spec = context.app.catalog.get(task)
    question = question_of(
        spec.name,
        context.app.settings.tasks[spec.name].rollout,
        a=a,
        b=b,
        weight=weight,
        metric=metric,
        horizon=horizon,
        looks=looks,
        alpha=alpha,
        days=days,
        audit=audit,
        judge=judge,
    )
    context.app.backends.check(a, b, question.judge)
    with context.app.database.write() as unit:
        at = context.app.clock.now()
        said = {"actor": context.actor, "reason": reason}
        begun = experiments.start(unit, spec, question, **said, at=at)
    _show([begun], one=True, as_json=as_json)


@app.command()
def status(task: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """The newest experiment of one task, or of all: figures of both arms, and its looks."""
    from inhouse.cli.context import open_context
    from inhouse.rollout import experiment_records as records

    context = open_context()
    specs = [context.app.catalog.get(task)] if task else context.app.catalog.all()
    with context.app.database.read() as unit:
        newest = [records.list_experiments(unit, spec.name, 1) for spec in specs]
    found = [one[0] for one in newest if one]
    if not found and not as_json:
        typer.echo("no experiments; `inhouse experiment start TASK --a REF --b REF` begins one")
        return
    _show(found, as_json=as_json)


@app.command()
def stop(task: str, reason: Why, as_json: AsJson = False) -> None:
    """End the experiment of a task; what answered before answers again, at once."""
    from inhouse.cli.context import open_context
    from inhouse.core.errors import NotFound
    from inhouse.rollout import experiment_records as records
    from inhouse.rollout import experiments

    context = open_context()
    spec = context.app.catalog.get(task)
    with context.app.database.write() as unit:
        found = records.open_of(unit, spec.name)
        if found is None:
            raise NotFound(f"no experiment of {spec.name} runs", code="experiment-not-found")
        seen = records.get(unit, found.id, lock=True)
        at = context.app.clock.now()
        said = {"actor": context.actor, "reason": reason}
        ended = experiments.stop(unit, spec, seen, **said, at=at)
    _show([ended], one=True, as_json=as_json)


@app.command()
def history(
    task: str,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Experiments of a task, newest first, with what each found."""
    from inhouse.cli.context import open_context
    from inhouse.rollout import experiment_records as records

    context = open_context()
    name = context.app.catalog.get(task).name
    with context.app.database.read() as unit:
        found = records.list_experiments(unit, name, limit)
    if not found and not as_json:
        typer.echo(f"no experiments of {name}")
    _show(found, as_json=as_json)


@app.command()
def plan(
    task: str,
    effect: Annotated[
        float,
        typer.Option(
            min=0.000001, help="Smallest difference worth finding, such as 0.03 for 3 points."
        ),
    ],
    rate: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Success or correct today, such as 0.9."),
    ] = None,
    spread: Annotated[
        float | None,
        typer.Option(min=0.0, help="Standard deviation, for an error or a latency in seconds."),
    ] = None,
    weight: Weight = 50.0,
    looks: Looks = 5,
    alpha: Alpha = 0.05,
    power: Annotated[
        float, typer.Option(min=0.5, max=0.99, help="Chance to find that difference.")
    ] = 0.8,
    as_json: AsJson = False,
) -> None:
    """The horizon that an experiment needs to find a difference of that size."""
    from inhouse.cli.context import open_context
    from inhouse.rollout.looks import needed_horizon

    context = open_context()
    spec = context.app.catalog.get(task)
    horizon = needed_horizon(
        effect=effect,
        rate=rate,
        spread=spread,
        weight=weight / 100,
        looks=looks,
        alpha=alpha,
        power=power,
    )
    unit = "calls" if spec.unit == "request" else f"{spec.unit}s"
    if as_json:
        context.print_json({"task": spec.name, "horizon": horizon, "unit": unit, "power": power})
        return
    typer.echo(
        f"{horizon:,} {unit} of both arms together find {effect:g} with a chance of "
        f"{power * 100:g} %, looked at {looks} times, a false winner in at most {alpha * 100:g} %"
    )
    metric = "success" if rate is not None else "METRIC"
    typer.echo(
        f"inhouse experiment start {spec.name} --a REF --b REF --metric {metric} "
        f"--horizon {horizon} --looks {looks} --alpha {alpha:g} --weight {weight:g} --reason WHY"
    )


def _show(found: list[ExperimentRecord], *, one: bool = False, as_json: bool) -> None:
    from inhouse.cli.context import open_context
    from inhouse.rollout.experiment_plain import plain

    if as_json:
        shown = [plain(each) for each in found]
        open_context().print_json(shown[0] if one else shown)
        return
    for each in found:
        typer.echo("\n".join(_lines(each)))


def _lines(experiment: ExperimentRecord) -> list[str]:
    from inhouse.rollout.findings import mean_words

    asked, found = experiment.question, experiment.findings
    share = asked.weight_bp / 100
    lines = [
        f"{asked.task:<16} {experiment.state:<10} {asked.metric} of {asked.a} ({100 - share:g} %) "
        f"and {asked.b} ({share:g} %), {found.outcomes:,} of {asked.horizon:,}"
    ]
    arms = zip("AB", (asked.a, asked.b), found.counts, found.means, strict=True)
    lines += [
        f"  {arm}  {reference:<32} {mean_words(asked.metric, mean):>8}  of {count:,}"
        for arm, reference, count, mean in arms
    ]
    lines += [
        f"  look {one.number} of {asked.looks}  at {one.outcomes:,}: z {one.z:.2f}, "
        f"boundary {one.boundary:.2f}"
        for one in found.looks
    ]
    if experiment.until is not None and not experiment.is_over:
        lines.append(f"  ends without a winner on {experiment.until:%Y-%m-%d %H:%M}")
    if found.ended_by is not None:
        lines.append(f"  ended by {found.ended_by}: {found.why}")
    return lines
