"""What goes on while the story is told: calls that keep arriving, and a bar that shows progress."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rich.progress import Progress as Bar

from inhouse.cli.demo.ask import PARALLEL, Application, Asked, rounds, wait_until
from inhouse.cli.demo.plan import Text
from inhouse.cli.demo.tell import Teller

_PAUSE_S = 0.05


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
    """Calls that keep arriving, two at a time, while the route moves.

    ``truths``: what is right is told after each of them. ``by``: how many each reference answered.
    """

    def __init__(
        self, application: Application, texts: Sequence[Text], *, truths: bool = False
    ) -> None:
        self._application = application
        self._texts = texts
        self._truths = truths
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="arrivals", daemon=True)
        self.answered = 0
        self.by: Counter[str] = Counter()
        self._most: tuple[Mapping[str, int], int | None] = ({}, None)

    def __enter__(self) -> Arrivals:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def limit(self, by: Mapping[str, int], calls: int | None) -> None:
        """No calls arrive once a reference has answered so many, or all of them ``calls``."""
        self._most = (by, calls)

    def are_spent(self) -> bool:
        """Whether no calls arrive for that."""
        by, calls = self._most
        over = any(self.by[reference] >= most for reference, most in by.items())
        return over or (calls is not None and self.answered >= calls)

    def wait_for(self, calls: int) -> None:
        """Wait until so many more calls were answered."""
        target = self.answered + calls
        wait_until(lambda: self.answered >= target, 300.0, f"the next {calls} answers")

    def _work(self) -> None:
        for batch in rounds(self._texts, PARALLEL):
            while self.are_spent() and not self._stop.wait(_PAUSE_S):
                pass
            if self._stop.is_set():
                return
            self.answered += self._application.stream(batch, self._seen, truths=self._truths)

    def _seen(self, one: Asked) -> None:
        self.by[one.reference] += 1
