"""``/v1/routes``: who answers a task, and moving it."""

from __future__ import annotations

from fastapi import APIRouter

from inhouse.api.depends import Limit, Operator, PathTask, Reader, Wired
from inhouse.client.control import Rollback, Route, RouteChange
from inhouse.client.routes import RollbackAll
from inhouse.registry import move, routes
from inhouse.rollout.halt import halt

router = APIRouter(tags=["routes"])


@router.get("/v1/routes")
def list_routes(app: Wired, _: Reader) -> list[Route]:
    """The route of every task; revision 0 is the chain that the task declares."""
    with app.database.read() as unit:
        moved = {route.task: route for route in routes.all_current(unit)}
    specs = app.catalog.all()
    found = [(moved.get(s.name) or routes.implicit(s.name, s.chain), s.chain) for s in specs]
    return [Route.model_validate(routes.with_chain(*one)) for one in found]


@router.get("/v1/routes/{task}")
def show_route(task: PathTask, app: Wired, _: Reader) -> Route:
    """Who answers a task now."""
    spec = app.catalog.get(task)
    with app.database.read() as unit:
        route = routes.current(unit, spec.name) or routes.implicit(spec.name, spec.chain)
    return Route.model_validate(routes.with_chain(route, spec.chain))


@router.get("/v1/routes/{task}/history")
def show_history(task: PathTask, app: Wired, _: Reader, *, limit: Limit = 50) -> list[Route]:
    """Revisions of a task's route, newest first, with who moved it and why."""
    name = app.catalog.get(task).name
    with app.database.read() as unit:
        return [Route.model_validate(route) for route in routes.history(unit, name, limit)]


@router.post("/v1/routes/rollback")
def roll_back_all(request: RollbackAll, app: Wired, who: Operator) -> list[Route]:
    """Send every task back to its incumbent, at once: the kill switch. Rollouts are aborted, also
    those that only shadow. The routes that moved."""
    with app.database.write() as unit:
        moved = halt(
            unit, app.catalog.all(), actor=who.actor, reason=request.reason, at=app.clock.now()
        )
    app.routes.refresh([route.task for route in moved])
    return [Route.model_validate(route) for route in moved]


@router.post("/v1/routes/{task}")
def change_route(task: PathTask, request: RouteChange, app: Wired, who: Operator) -> Route:
    """Give a candidate a share of a task's units."""
    spec = app.catalog.get(task)
    app.backends.check(request.candidate)
    with app.database.write() as unit:
        route = move.set_weight(
            unit,
            spec,
            candidate=request.candidate,
            percent=request.weight,
            actor=who.actor,
            reason=request.reason,
            at=app.clock.now(),
            expect=request.expect_revision,
        )
    app.routes.refresh([spec.name])
    return Route.model_validate(route)


@router.post("/v1/routes/{task}/rollback")
def roll_back(task: PathTask, request: Rollback, app: Wired, who: Operator) -> Route:
    """Send everything to the incumbent, at once."""
    spec = app.catalog.get(task)
    with app.database.write() as unit:
        route = move.rollback(
            unit,
            spec,
            actor=who.actor,
            reason=request.reason,
            at=app.clock.now(),
            expect=request.expect_revision,
        )
    app.routes.refresh([spec.name])
    return Route.model_validate(route)
