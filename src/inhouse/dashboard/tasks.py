"""``/tasks``: what may be asked, who answers it, trying it, and moving its traffic."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from inhouse.core.errors import InhouseError, Invalid
from inhouse.core.ids import new_id
from inhouse.core.states import VersionStatus
from inhouse.dashboard import tasks_view as view
from inhouse.dashboard.shell import Calling, Operating, Page, Reading, whole_number
from inhouse.dashboard.toasts import Undo
from inhouse.gateway.entry import Call, Outcome
from inhouse.monitoring import traffic
from inhouse.monitoring.figures import figures
from inhouse.monitoring.overview import Period, hours_of
from inhouse.monitoring.readiness import readiness
from inhouse.registry import move, routes, versions
from inhouse.registry.routes import Route
from inhouse.rollout import records as rollouts
from inhouse.rollout.declared import plan_of
from inhouse.rollout.halt import halt
from inhouse.tasks.spec import TaskSpec

router = APIRouter()

DAYS: Final = 7
_CALLABLE: Final = (VersionStatus.CANDIDATE, VersionStatus.ACTIVE, VersionStatus.DEPRECATED)
_HISTORY: Final = 20


@router.get("/tasks")
def show_all(page: Reading) -> Response:
    """Every declared task with who answers it and how it goes."""
    app, until = page.app, page.app.clock.now()
    with app.database.read() as unit:
        counted = traffic.of_tasks(unit, until - timedelta(days=DAYS), until)
        moved = {route.task: route for route in routes.all_current(unit)}
        ramps = len(rollouts.unfinished(unit))
    rows = [
        {
            "spec": spec,
            "shares": view.shares(moved.get(spec.name) or routes.implicit(spec.name, spec.chain)),
            "traffic": counted.get(spec.name) or traffic.nothing(spec.name, until, until),
        }
        for spec in app.catalog.all()
    ]
    split = sum(bool(route.weight_bp or route.pin) for route in moved.values())
    return page.render(
        "tasks/list.html",
        title="Tasks",
        nav="tasks",
        rows=rows,
        split=split,
        ramps=ramps,
        days=DAYS,
    )


@router.post("/tasks/rollback")
def roll_back_all(page: Operating) -> Response:
    """The kill switch: every task back to its incumbent, every rollout aborted."""
    app, reason = page.app, page.reason()
    with app.database.write() as unit:
        moved = halt(unit, app.catalog.all(), actor=page.actor, reason=reason, at=app.clock.now())
    app.routes.refresh([route.task for route in moved])
    told = ", ".join(route.task for route in moved)
    toast = f"Back to their incumbents: {told}" if told else "Every task had its incumbent already"
    return page.redirect("/tasks", toast=toast)


@router.get("/tasks/{name}")
def show(name: str, page: Reading) -> Response:
    """One task."""
    return page.render("tasks/show.html", nav="tasks", **_context(page, name), **_untried())


@router.post("/tasks/{name}/try")
async def try_it(name: str, page: Calling) -> Response:
    """Ask the task as the API does, and show what came back."""
    spec, form = page.app.catalog.get(name), page.sent
    text, unit, model = (form.get(field, "") for field in ("input", "unit", "model"))
    outcome, error = None, None
    try:
        outcome = await page.app.gateway.run(_call(page, spec, text, unit.strip(), model))
    except InhouseError as raised:
        error = raised
    request = view.request_of(text, unit=unit.strip(), model=model)
    return await run_in_threadpool(_show_answer, page, spec, request, outcome, error)


def _show_answer(
    page: Page,
    spec: TaskSpec,
    request: Mapping[str, str],
    outcome: Outcome | None,
    error: InhouseError | None,
) -> Response:
    tried = _tried(page, spec, request, outcome) | {"error": error}
    if page.fragment:
        return page.render("tasks/answer.html", title=spec.name, nav="tasks", spec=spec, **tried)
    return page.render("tasks/show.html", nav="tasks", **_context(page, spec.name), **tried)


@router.post("/tasks/{name}/route")
def change_route(name: str, page: Operating) -> Response:
    """Give a candidate a share of the task's units."""
    app, spec = page.app, page.app.catalog.get(name)
    reason, form = page.reason(), page.sent
    app.backends.check(form.get("candidate"))
    with app.database.write() as unit:
        before = routes.current(unit, spec.name) or routes.implicit(spec.name, spec.chain)
        route = move.set_weight(
            unit,
            spec,
            candidate=form.get("candidate") or None,
            percent=_percent(form.get("weight", "")),
            actor=page.actor,
            reason=reason,
            at=app.clock.now(),
            expect=_revision(form),
        )
    app.routes.refresh([spec.name])
    toast = f"Revision {route.revision}: {view.sentence(route)}"
    return page.redirect(f"/tasks/{name}", toast=toast, undo=_undo(before, route))


def _undo(before: Route, after: Route) -> Undo | None:
    """The way back to the share of before, where it leads to exactly the same traffic: the same
    candidate, so that who meets it is drawn as before, and no version that became active."""
    same = (before.chain, before.pin) == (after.chain, None)
    if not same or before.candidate != after.candidate or after.weight_bp == routes.FULL:
        return None
    fields = {
        "candidate": after.candidate or "",
        "weight": f"{before.weight_bp / 100:g}",
        "revision": str(after.revision),
        "reason": f"Undid revision {after.revision}",
    }
    return Undo(f"/tasks/{quote(after.task, safe='')}/route", fields)


@router.post("/tasks/{name}/rollback")
def roll_back(name: str, page: Operating) -> Response:
    """Everything to the incumbent, at once."""
    app, spec = page.app, page.app.catalog.get(name)
    reason = page.reason()
    with app.database.write() as unit:
        route = move.rollback(
            unit,
            spec,
            actor=page.actor,
            reason=reason,
            at=app.clock.now(),
            expect=_revision(page.sent),
        )
    app.routes.refresh([spec.name])
    return page.redirect(f"/tasks/{name}", toast=f"Rolled back: {view.sentence(route)}")


def _context(page: Page, name: str) -> dict[str, Any]:
    app = page.app
    spec = app.catalog.get(name)
    plan = plan_of(app.settings.tasks[spec.name].rollout)
    with app.database.read() as unit:
        found = figures(unit, spec, hours_of(Period.WEEK, app.clock.now()))
        ready = readiness(
            unit, spec, plan, clock=app.clock, breakers=app.breakers.states(), found=found
        )
        history = routes.history(unit, spec.name, _HISTORY)
        own = versions.list_versions(unit, spec.name)
        ramps = rollouts.list_rollouts(unit, spec.name, 1)
    route = history[0] if history else routes.implicit(spec.name, spec.chain)
    callable_versions = [version.reference for version in own if version.status in _CALLABLE]
    return {
        "title": spec.name,
        "spec": spec,
        "about": f"{spec.description.rstrip('.')}. " if spec.description else "",
        "definition": view.definition(spec),
        "fallbacks": [reference for reference in route.chain if reference != route.incumbent],
        "route": route,
        "shares": view.shares(route),
        "rollout": ramps[0] if ramps else None,
        "history": view.history_of([*history, routes.implicit(spec.name, spec.chain)]),
        "figures": found,
        "total": found.total,
        "ready": ready,
        "ready_badge": view.READY[ready.state],
        "ready_badges": view.READY,
        "days": DAYS,
        "models": [*callable_versions, *spec.chain],
        "candidates": _candidates(spec, route, callable_versions),
        "schema": view.pretty(dict(spec.schema)) if spec.schema else "",
    }


def _candidates(spec: TaskSpec, route: Route, own: list[str]) -> list[str]:
    """What may be given traffic: the present candidate first, then own versions, then the chain."""
    first = [route.candidate] if route.candidate else []
    found = dict.fromkeys([*first, *own, *spec.chain])
    return [reference for reference in found if reference != route.incumbent]


def _untried() -> dict[str, Any]:
    return {"request": {}, "outcome": None, "error": None, "curl": "", "python": ""}


def _tried(
    page: Page, spec: TaskSpec, request: Mapping[str, str], outcome: Outcome | None
) -> dict[str, Any]:
    base_url, with_key = str(page.request.base_url).rstrip("/"), not page.site.door.is_open
    found: dict[str, Any] = {**_untried(), "request": request, "outcome": outcome}
    if request.get("input"):
        found["curl"] = view.as_curl(base_url, spec.name, request, with_key=with_key)
        found["python"] = view.as_python(base_url, spec.name, request, with_key=with_key)
    if outcome is not None:
        output = dict(outcome.output)
        found |= {
            "output": output,
            "chances": view.chances(outcome.probabilities, output),
            "pieces": view.pieces(request["input"], output.get("spans", ()), spec.labels),
            "json": view.pretty(output),
        }
    return found


def _call(page: Page, spec: TaskSpec, text: str, unit: str, model: str) -> Call:
    if not text.strip():
        raise Invalid("there is no text to ask about", code="input", hint="write or paste one")
    return Call(
        interaction_id=new_id(),
        task=spec.name,
        text=text,
        unit=unit or None,
        model=model or None,
        tags={"from": "pages"},
        key=None if page.who is None else page.who.key,
    )


def _percent(text: str) -> float:
    try:
        percent = float(text.replace(",", "."))
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:
        raise Invalid(f"{text!r} is no share", code="weight", hint="write a number from 0 to 100")
    return percent


def _revision(form: Mapping[str, str]) -> int | None:
    text = form.get("revision", "")
    found = whole_number(text)
    if text and found is None:
        raise Invalid(f"{text[:20]!r} is no revision", code="revision", hint="reload the page")
    return found
