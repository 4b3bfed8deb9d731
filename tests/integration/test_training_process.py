"""Supervising children that behave badly; each is a real process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.errors import Invalid
from inhouse.jobs.handler import Stopped
from inhouse.training import process
from inhouse.training.process import ChildDied, Watch, supervise

CLOCK = SystemClock()
WAIT_S = 30.0


def child(body: str) -> list[str]:
    """A child made of our frame around some lines of Python; they see ``send`` and ``stop``."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    program = (
        "import os, signal, subprocess, sys, threading, time\n"
        "from inhouse.core.errors import Invalid\n"
        "from inhouse.training.child import run\n"
        "from inhouse.training.trainers.base import TrainingFailed, TrainingStopped\n"
        f"def step(send, stop):\n{lines}\n"
        "sys.exit(run(step))\n"
    )
    return [sys.executable, "-c", program]


class Heard:
    """What a supervised child said."""

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self.any = threading.Event()

    def __call__(self, line: Any) -> None:
        self.lines.append(line)
        self.any.set()


def watch_it(
    body: str,
    tmp_path: Path,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    max_seconds: float = WAIT_S,
    heard: Heard | None = None,
) -> Heard:
    heard = heard or Heard()
    watch = Watch(on_line=heard, cancelled=cancelled, max_seconds=max_seconds, clock=CLOCK)
    supervise(child(body), watch, log=tmp_path / "log.txt", threads=1)
    return heard


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split(") ")[1].startswith("Z")


def until(condition: Callable[[], object]) -> None:
    deadline, pause = CLOCK.monotonic() + WAIT_S, threading.Event()
    while not condition():
        assert CLOCK.monotonic() < deadline, "waited in vain"
        pause.wait(0.02)


def test_lines_are_heard_and_prints_go_to_the_log(tmp_path: Path) -> None:
    heard = watch_it(
        'print("a library talks", flush=True)\n'
        'os.write(1, b"so does native code\\n")\n'
        'send({"kind": "progress", "done": 1})\n'
        'send({"kind": "progress", "done": 2})',
        tmp_path,
    )
    assert [line["done"] for line in heard.lines] == [1, 2]
    log = (tmp_path / "log.txt").read_text()
    assert "a library talks" in log
    assert "so does native code" in log


@pytest.mark.parametrize(
    ("body", "reason", "hint"),
    [
        ('raise TrainingFailed("too few")', "too few", ""),
        ('raise Invalid("no base", hint="import one")', "no base", "import one"),
        ('raise KeyError("oops")', "KeyError: 'oops'", ""),
    ],
)
def test_a_child_that_gives_up_says_why(tmp_path: Path, body: str, reason: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        watch_it(body, tmp_path)
    assert (caught.value.message, caught.value.hint) == (reason, hint)
    assert caught.value.code == "training-failed"


@pytest.mark.parametrize(
    "body",
    [
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.abort()",
        "os._exit(7)",
        "os.closerange(0, 100); os._exit(9)",
        "os.closerange(3, 100); time.sleep(60)",
    ],
)
def test_a_child_that_dies_is_no_failure_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.5)
    with pytest.raises(ChildDied):
        watch_it(body, tmp_path)


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(ChildDied):
        watch_it(
            'send({"kind": "progress", "done": 1})\n'
            "pipe = [f for f in range(3, 30) if os.path.exists(f'/proc/self/fd/{f}')\n"
            "        and 'pipe' in os.readlink(f'/proc/self/fd/{f}')][0]\n"
            'os.write(pipe, b\'{"kind": "prog\')\n'
            "os.kill(os.getpid(), signal.SIGKILL)",
            tmp_path,
            heard=heard,
        )
    assert [line["done"] for line in heard.lines] == [1]


def test_a_child_stops_when_asked(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(Stopped):
        watch_it(
            'send({"pid": os.getpid(), "kind": "progress"})\n'
            "stop.wait(60)\n"
            'print("stopped in good order", file=sys.stderr)\n'
            "raise TrainingStopped",
            tmp_path,
            cancelled=heard.any.is_set,
            heard=heard,
        )
    assert gone(heard.lines[0]["pid"])
    assert "stopped in good order" in (tmp_path / "log.txt").read_text()


def test_a_child_that_does_not_stop_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.3)
    heard = Heard()
    with pytest.raises(Stopped):
        watch_it(
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            'other = subprocess.Popen([sys.executable, "-c", "import signal, time\\n"\n'
            '    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\nprint(1, flush=True)\\n"\n'
            '    "time.sleep(60)"], stdout=subprocess.PIPE)\n'
            "other.stdout.readline()\n"
            'send({"pids": [os.getpid(), other.pid], "kind": "progress"})\n'
            "time.sleep(60)",
            tmp_path,
            cancelled=heard.any.is_set,
            heard=heard,
        )
    until(lambda: all(gone(pid) for pid in heard.lines[0]["pids"]))


def test_a_child_that_takes_too_long_is_ended_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"longer than 0\.2 s"):
        watch_it("stop.wait(60)", tmp_path, max_seconds=0.2)


def test_an_error_of_the_listener_ends_the_child(tmp_path: Path) -> None:
    pids: list[int] = []

    class Broken(Heard):
        def __call__(self, line: Any) -> None:
            pids.append(line["pid"])
            raise OSError("the database is gone")

    with pytest.raises(OSError, match="database is gone"):
        watch_it(
            'send({"pid": os.getpid(), "kind": "progress"})\nstop.wait(60)',
            tmp_path,
            heard=Broken(),
        )
    assert gone(pids[0])


def test_a_child_ends_with_its_parent_and_takes_its_children_along(tmp_path: Path) -> None:
    body = (
        'other = subprocess.Popen(["sleep", "60"])\n'
        'send({"pids": [os.getpid(), other.pid], "kind": "progress"})\n'
        "time.sleep(60)"
    )
    parent = (
        "import sys\nfrom pathlib import Path\n"
        "from inhouse.core.clock import SystemClock\n"
        "from inhouse.training.process import Watch, supervise\n"
        "watch = Watch(on_line=lambda line: print(*line['pids'], flush=True),\n"
        "    cancelled=lambda: False, max_seconds=60, clock=SystemClock())\n"
        f"supervise({child(body)!r}, watch, log=Path({str(tmp_path / 'log.txt')!r}), threads=1)\n"
    )
    running = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    pids = [int(pid) for pid in running.stdout.readline().split()]
    assert len(pids) == 2
    running.kill()
    running.wait()
    running.stdout.close()
    until(lambda: all(gone(pid) for pid in pids))
