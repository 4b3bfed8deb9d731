"""The child's side without a model: frames, the order of work, cancellation; and missing extras."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.core.errors import BackendError, Unavailable
from inhouse.inference.engines.children import environment, require
from inhouse.inference.engines.frames import read_frame, write_frame
from inhouse.inference.engines.lm_child import Desk, Inbox, first_batch
from inhouse.inference.engines.lm_process import LmProcess

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=3), max_size=3))
def test_frames_arrive_as_sent(messages: list[dict[str, Any]]) -> None:
    stream = io.BytesIO()
    for message in messages:
        write_frame(stream, message)
    stream.seek(0)
    assert [read_frame(stream) for _ in messages] == messages
    assert read_frame(stream) is None


@settings(deadline=None)
@given(st.integers(0, 30))
def test_a_frame_that_is_cut_short_is_the_end(kept: int) -> None:
    stream = io.BytesIO()
    write_frame(stream, {"a": "b" * 40})
    assert read_frame(io.BytesIO(stream.getvalue()[:kept])) is None


class Talker:
    """Stands for the model: chats of as many tokens as the first message says."""

    def __init__(self) -> None:
        self.spoken: list[str] = []

    def chat(
        self, messages: Any, options: Mapping[str, Any], form: Any
    ) -> Iterator[dict[str, Any]]:
        name, tokens = messages[0]["content"].split()
        for _ in range(int(tokens)):
            self.spoken.append(name)
            yield {}
        yield {"content": name}


def chat(number: int, content: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    return {"op": "chat", "id": number, "messages": messages, "options": {}}


def test_chats_advance_in_turns_and_a_cancelled_one_stops() -> None:
    inbox, talker, out = Inbox(), Talker(), io.BytesIO()
    desk = Desk(cast("Any", talker), inbox, out)
    inbox.put(chat(1, "long 1000"))
    inbox.put(chat(2, "short 2"))
    for _ in range(3):
        desk.work()
    assert talker.spoken == ["long", "short", "long", "short", "long"]
    inbox.put({"op": "cancel", "id": 1})
    inbox.put(chat(3, "next 0"))
    desk.work()
    assert talker.spoken.count("long") == 3
    out.seek(0)
    assert [read_frame(out), read_frame(out), read_frame(out)] == [
        {"id": 2, "found": {"content": "short"}},
        {"id": 3, "found": {"content": "next"}},
        None,
    ]


def test_a_cancellation_counts_once_and_only_for_what_waits() -> None:
    inbox = Inbox()
    inbox.put({"op": "cancel", "id": 1})
    inbox.put(chat(1, "a 0"))
    assert inbox.wanted(1)
    inbox.put({"op": "cancel", "id": 1})
    assert not inbox.wanted(1)
    inbox.put(chat(2, "b 0"))
    inbox.done(2)
    inbox.put({"op": "cancel", "id": 2})
    assert inbox.wanted(2)


def likelihood(number: int, key: str, length: int = 10) -> dict[str, Any]:
    return {"id": number, "key": key, "messages": [{"role": "user", "content": "x" * length}]}


def test_requests_of_one_task_run_together_within_bounds() -> None:
    mixed = [likelihood(number, "a" if number % 2 else "b") for number in range(30)]
    batch = first_batch(mixed)
    assert [each["id"] for each in batch] == [0, 2, 4, 6, 8, 10, 12, 14]
    long = [likelihood(1, "a", 100_000), likelihood(2, "a")]
    assert [each["id"] for each in first_batch(long)] == [1]


ECHO = """
import sys
from inhouse.inference.engines.frames import read_frame, write_frame
while (asked := read_frame(sys.stdin.buffer)) is not None:
    write_frame(sys.stdout.buffer, {"id": asked["id"], "found": asked})
"""


def test_a_question_that_no_frame_holds_leaves_the_child_to_others() -> None:
    process = LmProcess([sys.executable, "-c", ECHO], threads=1)
    try:
        with pytest.raises(BackendError) as caught:
            process.submit({"seed": 2**70})
        assert (caught.value.code, caught.value.fatal) == ("unsupported", True)
        assert process.submit({"seed": 7}).result(timeout=30)["seed"] == 7
    finally:
        process.close()


def test_a_missing_extra_says_what_to_install() -> None:
    with pytest.raises(Unavailable, match="no_such_module_here") as caught:
        require("lm", "json", "no_such_module_here")
    assert caught.value.code == "missing-extra"
    assert "inhouse[lm]" in caught.value.hint
    require("encoder", "json")


def test_children_wait_quietly_and_offline() -> None:
    given = environment(2)
    assert given["OMP_NUM_THREADS"] == "2"
    assert given["OMP_WAIT_POLICY"] == "PASSIVE"
    assert given["HF_HUB_OFFLINE"] == "1"
