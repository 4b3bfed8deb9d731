"""The load generator: raw sockets, one thread, one ``select``.

Closed loop: each connection asks again as soon as it is answered. Open loop: requests have
scheduled times, and a latency counts from the scheduled time, so that a gateway which stalls pays
for everything that waited (no coordinated omission). Both are bounded in count and time.
"""

from __future__ import annotations

import gc
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from benchmarks.gateway.texts import MODELS, Asking, stream_events
from benchmarks.gateway.wire import Answer, answer_of, events_of

PATIENCE_S: Final = 15.0
MOST_CONNECTIONS: Final = 256
_STALL_S: Final = 0.040
_now = time.perf_counter


@dataclass(slots=True)
class Sample:
    """What one measurement saw. Times are in seconds, one per request that was answered well.

    ``errors`` counts everything else: statuses, broken connections, answers to another request.
    ``first`` is the time to the first token of a stream, ``longest_pause`` the longest time between
    two of its chunks; ``identical`` counts streams whose events are the mock's, byte for byte,
    ``said`` those that say the same. ``late`` is how much later than scheduled a request was sent.
    """

    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    late: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    longest_pause: list[float] = field(default_factory=list)
    chunks: int = 0
    stalls: int = 0
    identical: int = 0
    said: int = 0

    @property
    def asked(self) -> int:
        return len(self.latencies) + self.errors.total()


class Connection:
    """One kept-alive connection with at most one request under way."""

    __slots__ = ("_buffer", "_events", "_place", "_times", "asking", "begun", "number", "sock")

    def __init__(self, asking: Asking) -> None:
        self.asking = asking
        self.sock: socket.socket | None = None
        self.begun = 0.0
        self.number = 0

    def send(self, number: int, begun: float) -> None:
        """Ask; ``begun`` is when the request's time began to count. Raises OSError."""
        self.number, self.begun = number, begun
        self._buffer = b""
        self._place = 0
        self._events: list[bytes] = []
        self._times: list[float] = []
        if self.sock is None:
            self.sock = socket.create_connection((self.asking.host, self.asking.port), 5.0)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock.settimeout(None)
        self.sock.sendall(self.asking.request(number))

    def receive(self) -> Answer | None:
        """Read what is there; the answer once it is whole. Raises OSError and ValueError."""
        assert self.sock is not None
        data = self.sock.recv(262_144)
        if not data:
            raise ConnectionError("closed")
        self._buffer = self._buffer + data if self._buffer else data
        if not self.asking.stream:
            return answer_of(self._buffer)
        at = _now()
        self._place, found, ended = events_of(self._buffer, self._place)
        self._events += found
        self._times += [at] * len(found)
        if not ended:
            return None
        return Answer(int(self._buffer[9:12]), b"".join(self._events))

    def look(self) -> None:
        """After a rest: give the connection up if the server did."""
        if self.sock is not None and select.select((self.sock,), (), (), 0)[0]:
            self.close()

    def close(self) -> None:
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()

    def note(self, answer: Answer, sample: Sample) -> None:
        """Count a whole answer."""
        ended = _now()
        mark = self.asking.mark(self.number)
        if answer.status != 200 or mark not in answer.body:
            sample.errors[str(answer.status) if answer.status != 200 else "not its answer"] += 1
            return
        sample.latencies.append(ended - self.begun)
        if self.asking.stream:
            self._note_stream(mark, sample)

    def _note_stream(self, mark: bytes, sample: Sample) -> None:
        begins = next(place for place, event in enumerate(self._events) if mark in event)
        times = self._times[begins:]
        pauses = [after - before for before, after in pairwise(times)]
        sample.first.append(times[0] - self.begun)
        sample.longest_pause.append(max(pauses, default=0.0))
        sample.stalls += sum(pause >= _STALL_S for pause in pauses)
        sample.chunks += len(self._events)
        model = _model_of(self._events[begins])
        expected = stream_events(model if model in MODELS else MODELS[0], self.number)
        sample.identical += self._events == expected
        sample.said += _words(self._events) == _words(expected)


def closed(
    asking: Asking, numbers: Iterator[int], *, connections: int, seconds: float, most: int
) -> Sample:
    """Ask over ``connections`` until ``seconds`` are over or ``most`` requests are sent."""
    sample = Sample()
    active: dict[socket.socket, Connection] = {}
    with _measured(sample) as began:
        end, sent = began + seconds, 0
        for _ in range(min(connections, most)):
            sent += _send(Connection(asking), next(numbers), _now(), active, sample)
        while active:
            for connection in _turn(active, sample, timeout=PATIENCE_S, end=end + PATIENCE_S):
                if sent < most and _now() < end:
                    sent += _send(connection, next(numbers), _now(), active, sample)
                else:
                    connection.close()
    return sample


def open_loop(asking: Asking, numbers: Iterator[int], *, rate: float, seconds: float) -> Sample:
    """Ask ``rate`` times a second, whatever the answers do."""
    sample = Sample()
    active: dict[socket.socket, Connection] = {}
    idle: list[Connection] = []
    total = round(rate * seconds)
    with _measured(sample) as began:
        sent, end = 0, began + seconds + PATIENCE_S
        while sent < total or active:
            due = began + sent / rate
            while sent < total and _now() >= due and len(active) < MOST_CONNECTIONS:
                sample.late.append(_now() - due)
                connection = idle.pop() if idle else Connection(asking)
                connection.look()
                _send(connection, next(numbers), due, active, sample)
                sent += 1
                due = began + sent / rate
            full = sent == total or len(active) == MOST_CONNECTIONS
            wait = PATIENCE_S if full else max(0.0, due - _now())
            idle += _turn(active, sample, timeout=wait, end=end)
    for connection in idle:
        connection.close()
    return sample


def _send(
    connection: Connection,
    number: int,
    begun: float,
    active: dict[socket.socket, Connection],
    sample: Sample,
) -> int:
    try:
        connection.send(number, begun)
    except OSError as error:
        sample.errors[type(error).__name__] += 1
        connection.close()
        return 1
    assert connection.sock is not None
    active[connection.sock] = connection
    return 1


def _turn(
    active: dict[socket.socket, Connection], sample: Sample, *, timeout: float, end: float
) -> list[Connection]:
    """Wait for something to read and read it; the connections that are free again."""
    if _now() >= end:
        return _give_up(active, sample)
    free = []
    for sock in select.select(list(active), (), (), timeout)[0]:
        connection = active[sock]
        try:
            answer = connection.receive()
        except (OSError, ValueError) as error:
            sample.errors[type(error).__name__] += 1
            connection.close()
        else:
            if answer is None:
                continue
            connection.note(answer, sample)
            if answer.closes:
                connection.close()
        del active[sock]
        free.append(connection)
    return free


def _give_up(active: dict[socket.socket, Connection], sample: Sample) -> list[Connection]:
    for connection in active.values():
        sample.errors["no answer in time"] += 1
        connection.close()
    active.clear()
    return []


@contextmanager
def _measured(sample: Sample) -> Iterator[float]:
    """Time and processor time of the generator itself, without collections in between."""
    gc.collect()
    gc.disable()
    began, spent = _now(), time.process_time()
    try:
        yield began
    finally:
        sample.seconds = _now() - began
        sample.cpu_seconds = time.process_time() - spent
        gc.enable()


def _model_of(event: bytes) -> str:
    start = event.find(b'"model":"') + 9
    return event[start : event.find(b'"', start)].decode()


def _words(events: list[bytes]) -> list[bytes]:
    """What the events say, without what a gateway may rewrite."""
    found = []
    for event in events:
        start = event.find(b'"content":"')
        if start >= 0:
            found.append(event[start + 11 : event.find(b'"', start + 11)])
    return [word for word in found if word]
