"""Who answers: every upstream with its models, their tasks, breakers, prices and limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inhouse.bootstrap import App
from inhouse.core.errors import NotFound
from inhouse.core.urls import take_apart
from inhouse.dashboard.settings_view import without_secrets
from inhouse.gateway.breakers import BreakerView
from inhouse.gateway.limits.account import UPSTREAM
from inhouse.gateway.limits.report import LimitLine
from inhouse.gateway.probe import Probed, Target, probe
from inhouse.inference.upstream import hosting_of
from inhouse.registry.routes import Route
from inhouse.settings import UpstreamSettings


@dataclass(frozen=True, slots=True)
class Duty:
    """A task that a model may have to answer, and by which ways."""

    task: str
    ways: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """See ``client.upstreams.Model``."""

    reference: str
    duties: tuple[Duty, ...]
    breaker: BreakerView | None
    input_price: float | None = None
    output_price: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """See ``client.upstreams.Upstream``."""

    name: str
    base_url: str
    hosting: str
    speaks: str
    has_key: bool
    models: tuple[Model, ...]
    limits: tuple[LimitLine, ...]


def upstreams_of(app: App) -> list[Upstream]:
    """Every declared upstream, by name. On the event loop, where the breakers live."""
    duties, breakers, lines = _duties(app), _breakers(app), app.limiter.lines()
    references = {*duties, *breakers}
    return [
        _upstream(name, settings, _of(name, references), duties, breakers, lines)
        for name, settings in sorted(app.settings.upstreams.items())
    ]


def own_models(app: App) -> list[Model]:
    """What answers inside this installation: embedded general models, own versions."""
    duties, breakers = _duties(app), _breakers(app)
    declared = app.settings.upstreams
    names = (one for one in {*duties, *breakers} if one.partition("/")[0] not in declared)
    return [_model(name, None, duties, breakers) for name in sorted(names)]


async def ask(app: App, name: str) -> list[Probed]:
    """Ask every model of an upstream once for every task that may need it, outside of traffic: no
    breaker is told, nothing is recorded. Raises NotFound (code ``upstream-not-found``)."""
    if name not in app.settings.upstreams:
        raise NotFound(f"there is no upstream {name!r}", code="upstream-not-found")
    wanted = [
        Target(app.catalog.get(duty.task), reference)
        for reference, duties in sorted(_duties(app).items())
        if reference.partition("/")[0] == name
        for duty in duties
    ]
    return await probe(wanted, app.backends.resolve, app.clock)


def _upstream(
    name: str,
    settings: UpstreamSettings,
    references: Iterable[str],
    duties: Mapping[str, tuple[Duty, ...]],
    breakers: Mapping[str, BreakerView],
    lines: Sequence[LimitLine],
) -> Upstream:
    host = take_apart(settings.base_url).host
    named = {*references, *(f"{name}/{model}" for model in settings.prices)}
    return Upstream(
        name=name,
        base_url=without_secrets(settings.base_url),
        hosting=hosting_of(settings, host),
        speaks=settings.speaks,
        has_key=bool(settings.api_key.get_secret_value()),
        models=tuple(_model(one, settings, duties, breakers) for one in sorted(named)),
        limits=tuple(line for line in lines if line.scope == UPSTREAM and line.name == name),
    )


def _model(
    reference: str,
    settings: UpstreamSettings | None,
    duties: Mapping[str, tuple[Duty, ...]],
    breakers: Mapping[str, BreakerView],
) -> Model:
    price = None
    if settings is not None:
        price = settings.prices.get(reference.partition("/")[2])
    return Model(
        reference=reference,
        duties=duties.get(reference, ()),
        breaker=breakers.get(reference),
        input_price=None if price is None else price.input_per_million,
        output_price=None if price is None else price.output_per_million,
    )


def _duties(app: App) -> dict[str, tuple[Duty, ...]]:
    """The tasks of every reference that stands on a task's way."""
    found: dict[str, list[Duty]] = {}
    for spec in app.catalog.all():
        ways = _ways(app.routes.get(spec.name), app.settings.force.get(spec.name))
        for reference in dict.fromkeys(reference for _, reference in ways):
            names = tuple(dict.fromkeys(way for way, one in ways if one == reference))
            found.setdefault(reference, []).append(Duty(spec.name, names))
    return {reference: tuple(duties) for reference, duties in found.items()}


def _ways(route: Route, forced: str | None) -> list[tuple[str, str]]:
    share = f"candidate, {route.weight_bp / 100:g} %"
    ways = [("forced", forced), ("pinned", route.pin), ("first choice", route.incumbent)]
    ways.append((share, route.candidate if route.weight_bp else None))
    ways += [("fallback", one) for one in route.chain if one != route.incumbent]
    return [(way, reference) for way, reference in ways if reference]


def _breakers(app: App) -> dict[str, BreakerView]:
    return {view.reference: view for view in app.breakers.states()}


def _of(name: str, references: Iterable[str]) -> list[str]:
    return [one for one in references if one.partition("/")[0] == name and "/" in one]
