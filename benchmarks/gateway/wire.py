"""HTTP answers, as far as the load generator needs them."""

from __future__ import annotations

from typing import NamedTuple


class Answer(NamedTuple):
    """A whole answer; ``closes``: the server gives the connection up."""

    status: int
    body: bytes
    closes: bool = False


def answer_of(data: bytes) -> Answer | None:
    """The answer that ``data`` holds, None while it is not whole. Raises ValueError."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    closes = b"\r\nconnection: close" in head
    place = head.find(b"\r\ncontent-length:")
    if place < 0:
        return _chunked(data, end + 4, closes)
    line = head.find(b"\r\n", place + 17)
    length = int(head[place + 17 : line if line > 0 else None])
    if len(data) < end + 4 + length:
        return None
    return Answer(int(data[9:12]), data[end + 4 :], closes)


def _chunked(data: bytes, place: int, closes: bool) -> Answer | None:
    _, pieces, ended = chunks_of(data, place)
    return Answer(int(data[9:12]), b"".join(pieces), closes) if ended else None


def events_of(data: bytes, place: int) -> tuple[int, list[bytes], bool]:
    """The server-sent events that are whole from ``place`` on (0: the head comes first); where to
    go on, and whether the answer ended. One HTTP chunk may hold several events, or none whole: then
    it is kept for the next turn. Raises ValueError."""
    start = place
    if start == 0:
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return 0, [], False
        start = head + 4
        if b"transfer-encoding: chunked" not in data[:head].lower():
            return 0, [], answer_of(data) is not None
    after, pieces, ended = chunks_of(data, start)
    joined = b"".join(pieces)
    if joined and not ended and not joined.endswith(b"\n\n"):
        return start, [], False
    events = [event + b"\n\n" for event in joined.split(b"\n\n") if event]
    return after, events, ended


def chunks_of(data: bytes, place: int) -> tuple[int, list[bytes], bool]:
    """The HTTP chunks that are whole from ``place`` on, where to go on, and whether the last one
    was there. Raises ValueError."""
    pieces: list[bytes] = []
    while (line := data.find(b"\r\n", place)) >= 0:
        size = int(data[place:line].split(b";")[0], 16)
        after = line + 2 + size + 2
        if len(data) < after:
            break
        if size == 0:
            return after, pieces, True
        pieces.append(data[line + 2 : after - 2])
        place = after
    return place, pieces, False
