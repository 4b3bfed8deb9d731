"""The application of the demo: it calls the task over HTTP, by two of the gateway's doors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from openai import OpenAI

from inhouse.cli.demo.plan import Text
from inhouse.client.sync import Client

TASK = "sentiment"
PARALLEL = 2
TRUTH = "late truth (labels)"


@dataclass(frozen=True, slots=True)
class Asked:
    """One call that was answered: which text, which interaction, by which door, and who did."""

    name: str
    interaction_id: str
    door: str
    reference: str = ""


@dataclass(slots=True)
class Application:
    """Calls a task, now through the official ``openai`` client, now through the task API."""

    url: str
    failures: list[str] = field(default_factory=list)
    _openai: OpenAI = field(init=False)
    _clients: threading.local = field(init=False, default_factory=threading.local)
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._openai = OpenAI(base_url=f"{self.url}/v1", api_key="demo", max_retries=0)
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="application")

    def ask(self, number: int, text: Text) -> Asked | None:
        """Call the task once; None when the call failed, which ``failures`` then holds."""
        with self._counting():
            door = self._by_chat if number % 2 else self._by_task
            return door(text)
        return None

    def ask_and_learn(self, number: int, text: Text) -> Asked | None:
        """``ask``, and say afterwards what turned out to be right, whoever answered."""
        asked = self.ask(number, text)
        if asked is not None:
            with self._counting():
                self._client.feedback(asked.interaction_id, "outcome", text.target, author=TRUTH)
        return asked

    @contextmanager
    def _counting(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - an application counts whatever goes wrong
            self.failures.append(f"{type(error).__name__}: {error}")

    def stream(
        self, texts: Sequence[Text], seen: Callable[[Asked], None], *, truths: bool = False
    ) -> int:
        """Call the task for every text, two at a time; returns how many were answered. ``truths``:
        the right answer to each is told after its call."""
        ask = self.ask_and_learn if truths else self.ask
        done = self._pool.map(ask, range(len(texts)), texts)
        return sum(seen_by(asked, seen) for asked in done)

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
        self._pool.shutdown()
        self._openai.close()

    def _by_task(self, text: Text) -> Asked:
        result = self._client.run(TASK, text.text, unit=text.name, tags={"group": text.group})
        return Asked(text.name, result.interaction_id, "task API", result.model_version)

    def _by_chat(self, text: Text) -> Asked:
        answer = self._openai.chat.completions.with_raw_response.create(
            model=f"task:{TASK}",
            messages=[{"role": "user", "content": text.text}],
            metadata={"group": text.group},
            extra_headers={"x-inhouse-unit": text.name},
        )
        said = answer.headers
        made = said["x-inhouse-interaction-id"]
        return Asked(text.name, made, "openai client", said["x-inhouse-model-version"])


def seen_by(asked: Asked | None, seen: Callable[[Asked], None]) -> bool:
    """Tell who watches of an answered call."""
    if asked is None:
        return False
    seen(asked)
    return True


def rounds(texts: Sequence[Text], size: int) -> Iterator[list[Text]]:
    """Batches of ``size`` texts for ever, going round the texts; each time one is a new request,
    with a name of its own."""
    place = 0
    while True:
        batch = [divmod(place + offset, len(texts)) for offset in range(size)]
        yield [replace(texts[at], name=f"{texts[at].name}.{turn}") for turn, at in batch]
        place += size


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something that another part of the product does. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.05)
