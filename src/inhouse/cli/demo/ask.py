"""The application of the demo: it calls the task over HTTP, by two of the gateway's doors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from openai import OpenAI

from inhouse.cli.demo.plan import Text
from inhouse.client.sync import Client

TASK = "sentiment"
PARALLEL = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """One call that was answered: which text, which interaction, by which door."""

    name: str
    interaction_id: str
    door: str


@dataclass(slots=True)
class Application:
    """Calls a task, now through the official ``openai`` client, now through the task API."""

    url: str
    failures: list[str] = field(default_factory=list)
    _openai: OpenAI = field(init=False)
    _clients: threading.local = field(init=False, default_factory=threading.local)

    def __post_init__(self) -> None:
        self._openai = OpenAI(base_url=f"{self.url}/v1", api_key="demo", max_retries=0)

    def ask(self, number: int, text: Text) -> Asked | None:
        """Call the task once; None when the call failed, which ``failures`` then holds."""
        try:
            door = self._by_chat if number % 2 else self._by_task
            return door(text)
        except Exception as error:  # noqa: BLE001 - an application counts whatever goes wrong
            self.failures.append(f"{type(error).__name__}: {error}")
            return None

    def stream(self, texts: Sequence[Text], seen: Callable[[Asked], None]) -> int:
        """Call the task for every text, two at a time; returns how many were answered."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            answered = [a for a in pool.map(self.ask, range(len(texts)), texts) if seen_by(a, seen)]
        return len(answered)

    def correct(self, asked: Asked, target: Any) -> None:
        """Say what the answer should have been."""
        self._client.feedback(asked.interaction_id, "correction", target, author="editor (labels)")

    @property
    def _client(self) -> Client:
        """A client serves one thread at a time."""
        if not hasattr(self._clients, "client"):
            self._clients.client = Client(self.url)
        return self._clients.client  # type: ignore[no-any-return]

    def close(self) -> None:
        self._openai.close()

    def _by_task(self, text: Text) -> Asked:
        result = self._client.run(TASK, text.text, unit=text.name, tags={"group": text.group})
        return Asked(text.name, result.interaction_id, "task API")

    def _by_chat(self, text: Text) -> Asked:
        answer = self._openai.chat.completions.with_raw_response.create(
            model=f"task:{TASK}",
            messages=[{"role": "user", "content": text.text}],
            metadata={"group": text.group},
            extra_headers={"x-inhouse-unit": text.name},
        )
        return Asked(text.name, answer.headers["x-inhouse-interaction-id"], "openai client")


def seen_by(asked: Asked | None, seen: Callable[[Asked], None]) -> bool:
    """Tell who watches of an answered call."""
    if asked is None:
        return False
    seen(asked)
    return True


def rounds(texts: Sequence[Text], size: int) -> Iterator[list[Text]]:
    """Batches of ``size`` texts for ever, going round the texts."""
    place = 0
    while True:
        yield [texts[(place + offset) % len(texts)] for offset in range(size)]
        place += size


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something that another part of the product does. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.05)
