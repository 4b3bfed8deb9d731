"""What goes on while the story is told: calls that keep arriving, and a bar that shows progress."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from rich.progress import Progress as Bar

from inhouse.cli.demo.ask import PARALLEL, Application, rounds, wait_until
from inhouse.cli.demo.plan import Text
from inhouse.cli.demo.tell import Teller


class Ticks:
    """A progress bar in a terminal, silence elsewhere."""

    def __init__(self, teller: Teller, what: str, total: int) -> None:
        self._bar = Bar(transient=True, disable=not teller.console.is_terminal)
        self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Callable[[], None]:
        self._bar.start()
        return lambda: self._bar.advance(self._task)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


class Arrivals:
    """Calls that keep arriving, two at a time, while the route moves."""

    def __init__(self, application: Application, texts: Sequence[Text]) -> None:
        self._application = application
        self._texts = texts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="arrivals", daemon=True)
        self.answered = 0

    def __enter__(self) -> Arrivals:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, calls: int) -> None:
        """Wait until so many more calls were answered."""
        target = self.answered + calls
        wait_until(lambda: self.answered >= target, 300.0, f"the next {calls} answers")

    def _work(self) -> None:
        for batch in rounds(self._texts, PARALLEL):
            if self._stop.is_set():
                return
            self.answered += self._application.stream(batch, lambda one: None)
