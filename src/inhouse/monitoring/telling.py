"""Hands notices to channels, each in a thread of its own: one that hangs keeps nobody waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Final

from inhouse.core.errors import InhouseError
from inhouse.core.log import Log
from inhouse.monitoring import metrics
from inhouse.notify.base import DeliveredInPart, Notice, Notifier

LONGEST_S: Final = 100.0
"""A channel that takes longer has failed: three tries of 30 s each, and pauses."""
MOST: Final = 8
"""Notices that may be under way."""
_log = Log("inhouse")
Results = Mapping[str, str | None]


class Teller:
    """``channels`` may be replaced at any time; what is under way goes on."""

    def __init__(self, channels: Mapping[str, Notifier]) -> None:
        self.channels = channels
        self._under_way: set[threading.Thread] = set()

    @property
    def room(self) -> int:
        """How many notices may be told now."""
        return max(0, MOST - len(self._under_way))

    def tell(self, notice: Notice, names: Iterable[str], done: Callable[[Results], None]) -> None:
        """Tell the channels of these names, and then ``done`` what became of it: None, or why not,
        by name. Returns at once."""
        chosen = {name: self.channels[name] for name in names if name in self.channels}
        thread = threading.Thread(
            target=self._work, args=(notice, chosen, done), name="notices", daemon=True
        )
        self._under_way.add(thread)
        thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until nothing is under way, at most for so many seconds in all."""
        until = monotonic() + timeout_s
        for thread in list(self._under_way):
            thread.join(max(0.0, until - monotonic()))

    def _work(
        self, notice: Notice, chosen: Mapping[str, Notifier], done: Callable[[Results], None]
    ) -> None:
        try:
            done(_tell_all(notice, chosen))
        except Exception as error:  # noqa: BLE001 a thread has nobody to raise to
            _log.error("what channels heard is not kept", reason=f"{type(error).__name__}: {error}")
        finally:
            self._under_way.discard(threading.current_thread())


def _tell_all(notice: Notice, chosen: Mapping[str, Notifier]) -> Results:
    results: dict[str, str | None] = {
        name: f"it took longer than {LONGEST_S:g} s" for name in chosen
    }
    threads = [
        threading.Thread(
            target=_tell, args=(notice, name, channel, results), name="notice", daemon=True
        )
        for name, channel in chosen.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONGEST_S)
    return dict(results)


def _tell(notice: Notice, name: str, channel: Notifier, results: dict[str, str | None]) -> None:
    try:
        channel.send(notice)
    except Exception as error:  # noqa: BLE001 whatever a channel raises, others hear
        reason = error.message if isinstance(error, InhouseError) else f"{type(error).__name__}"
        _log.error("a channel did not take a notice", channel=name, reason=reason)
        metrics.NOTICES.labels(name, "failed").inc()
        results[name] = None if isinstance(error, DeliveredInPart) else reason
    else:
        metrics.NOTICES.labels(name, "sent").inc()
        results[name] = None
