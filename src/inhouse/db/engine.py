"""Engines: SQLite with WAL and short busy waits, PostgreSQL through psycopg 3."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError

from inhouse.core.errors import Invalid

_BUSY_MS = 10_000
_FILE: Final = "file"
_PATIENCE = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""How soon libpq gives a server up that has fallen silent; the URL may say otherwise."""


def open_engine(url: str) -> Engine:
    """An engine for ``sqlite:///path`` or ``postgresql://...``.

    Raises Invalid for any other scheme, or when the PostgreSQL driver is not installed.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    try:
        return create_engine(
            parsed,
            pool_size=8,
            max_overflow=8,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={k: v for k, v in _PATIENCE.items() if k not in parsed.query},
        )
    except ModuleNotFoundError:
        raise Invalid(
            "the PostgreSQL driver is not installed",
            code="missing-extra",
            hint="pip install 'inhouse[postgres]'",
        ) from None


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise Invalid("database.url is not a database URL", code="database-url") from None
    match parsed.get_backend_name():
        case "sqlite":
            return parsed
        case "postgresql" | "postgres":
            return parsed.set(drivername="postgresql+psycopg")
        case other:
            raise Invalid(
                f"database.url names {other!r}",
                code="database-url",
                hint="Inhouse runs on sqlite:///file and postgresql://host/name",
            )


def _sqlite(url: URL) -> Engine:
    path = file_of(url)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        connect_args={"check_same_thread": False, "timeout": _BUSY_MS / 1e3},
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (
            "journal_mode=wal",
            "synchronous=normal",
            "foreign_keys=on",
            "secure_delete=on",
            f"busy_timeout={_BUSY_MS}",
        ):
            connection.execute(f"pragma {pragma}")

    if path is not None:
        _stay_with(engine, path)
    return engine


def file_of(url: URL) -> Path | None:
    """The file of a SQLite URL; None for a database in memory, a file with options of its own, and
    PostgreSQL."""
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:" or "uri" in url.query:
        return None
    return Path(url.database)


def _stay_with(engine: Engine, path: Path) -> None:
    """A file that was moved away or replaced is not written to through connections that are open
    still, and no empty one takes its place: the database is gone until it is back."""
    known = False

    @event.listens_for(engine, "do_connect")
    def refuse(*_: Any) -> None:
        if known and identity(path) is None:
            raise sqlite3.OperationalError(f"{path} is gone")

    @event.listens_for(engine, "connect")
    def note(_connection: Any, record: Any) -> None:
        nonlocal known
        known = True
        record.info[_FILE] = identity(path)

    @event.listens_for(engine, "checkout")
    def compare(_connection: Any, record: Any, _proxy: Any) -> None:
        if record.info[_FILE] != identity(path):
            raise DisconnectionError(f"{path} is another file by now")


def identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one at the same place; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
