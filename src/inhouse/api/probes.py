"""``/healthz`` and ``/readyz``: for whoever starts the server and watches it.

They need no framework, so that they answer as soon as calls are answered.
"""

from __future__ import annotations

import asyncio

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from inhouse.api.body import Receive, Scope
from inhouse.api.respond import Response
from inhouse.bootstrap import App
from inhouse.client.models import Health
from inhouse.core.errors import InhouseError, Unavailable

_encode = msgspec.json.Encoder().encode


class Probes:
    """The handlers. Open to everybody."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def healthz(self, _scope: Scope, _receive: Receive) -> Response:
        """``GET /healthz``: the process answers."""
        return _answer(Health())

    async def readyz(self, _scope: Scope, _receive: Receive) -> Response:
        """``GET /readyz``: calls can be answered, since the recorder has room and the database
        answers.

        Raises Unavailable otherwise, except that a server which answers calls that it cannot record
        (``on_record_failure = "answer"``) says ``cut-off``, with the age of its routes.
        """
        return _answer(await asyncio.to_thread(self._look))

    def _look(self) -> Health:
        self._app.recorder.admit()
        if self._database_answers():
            return Health()
        age_s = round(self._app.routes.age_s(), 3)
        if not self._app.recorder.answers:
            raise Unavailable(
                f"the database does not answer; routes are as they were {age_s:.0f} s ago",
                code="database-unavailable",
                hint="see docs/runbooks/database-cut-off.md",
            )
        return Health(status="cut-off", routes_age_s=age_s)

    def _database_answers(self) -> bool:
        """Whether the database answers now; one that is known not to is not waited for."""
        if self._app.routes.stale:
            return False
        try:
            with self._app.database.read() as unit:
                unit.execute(text("SELECT 1"))
        except (InhouseError, SQLAlchemyError):
            return False
        return True


def _answer(health: Health) -> Response:
    body = _encode(health)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    return Response(200, headers, body)
