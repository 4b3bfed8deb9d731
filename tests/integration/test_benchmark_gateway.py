"""The gateway benchmark, very small: it runs, and every request is recorded."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """``benchmarks`` lies beside the sources and is not installed."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.full
@pytest.mark.usefixtures("benchmark_code")
def test_every_request_of_a_tiny_run_is_recorded(tmp_path: Path) -> None:
    from benchmarks.gateway.run import measure
    from benchmarks.gateway.scenarios import Sizes

    sizes = Sizes(
        repetitions=1,
        closed_s=10.0,
        open_repetitions=1,
        open_s=0.5,
        stream_repetitions=1,
        stream_s=0.5,
        failing=10,
        starts=1,
        growth=100,
        encoder_s=0.1,
        most=100,
    )
    result = measure(sizes, {"closed", "open", "failing"}, tmp_path, peers=False)
    assert [one for one in result["checks"] if not one["equal"]] == []
    own = [name for name in result["targets"] if name.startswith("inhouse")]
    assert len(own) == 3
    for name, connections in itertools.product(own, ("c=1", "c=16")):
        found = result["closed"][name][connections]
        assert found["errors"] == {}
        assert found["requests"]["median"] == 100
    assert [name for name, found in result["open"].items() if found["errors"]] == []
    for fault in ("dead", "hang"):
        assert result["failing"]["inhouse-fast"][fault]["client_errors"] == 0


@pytest.mark.usefixtures("benchmark_code")
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_streams_are_read_whole_however_they_arrive(size: int) -> None:
    from benchmarks.gateway.texts import stream_events
    from benchmarks.gateway.wire import events_of

    events = stream_events("a", 7)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)
    whole = head + chunks + b"0\r\n\r\n"
    found: list[bytes] = []
    place, ended = 0, False
    for end in range(size, len(whole) + size, size):
        place, new, ended = events_of(whole[:end], place)
        found += new
    assert ended
    assert found == events


@pytest.mark.usefixtures("benchmark_code")
def test_requests_are_unique_and_the_same_in_every_run() -> None:
    from benchmarks.gateway.texts import LEAST_PROMPT, MOST_PROMPT, Asking

    asking = Asking(host="127.0.0.1", port=1, path="/v1/chat/completions", model="a", rich=True)
    bodies = [asking.request(number).partition(b"\r\n\r\n")[2] for number in range(500)]
    assert len(set(bodies)) == 500
    assert min(map(len, bodies)) > LEAST_PROMPT
    assert max(map(len, bodies)) < MOST_PROMPT + 300
    assert bodies == [asking.request(number).partition(b"\r\n\r\n")[2] for number in range(500)]
