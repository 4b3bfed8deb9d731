"""Processes of a run: started, waited for, accounted for, and ended by their ids."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

POLL_S: Final = 0.005
PATIENCE_S: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None)
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class NotReady(Exception):
    """A process ended, or did not answer in time; the message has its last lines."""


class Process:
    """One started program and everything that it started."""

    def __init__(
        self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None, cwd: Path | None
    ) -> None:
        self.log = log
        self.started = time.perf_counter()
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                list(argv),
                stdout=out,
                stderr=out,
                env=env,
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_ready(self, port: int, path: str, seconds: float = 60.0) -> float:
        """Seconds from the start until ``GET path`` answers 200. Raises NotReady."""
        return self.wait(lambda: http_status(port, path) == 200, seconds)

    def wait(self, condition: Callable[[], bool], seconds: float) -> float:
        """Seconds from the start until a condition holds. Raises NotReady."""
        while not condition():
            if self._popen.poll() is not None or time.perf_counter() - self.started > seconds:
                raise NotReady(f"{self._popen.args!r}: {self.last_lines()}")
            time.sleep(POLL_S)
        return time.perf_counter() - self.started

    def last_lines(self) -> str:
        """The end of what it said."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-8:])

    def tree(self) -> list[int]:
        """Its id and those of its descendants that live."""
        found, look = [], [self.pid]
        while look:
            pid = look.pop()
            found.append(pid)
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):
                    look += map(int, children.read_text().split())
        return found

    def cpu_seconds(self) -> float:
        """Processor time of the tree, user and system."""
        return sum(_ticks(pid) for pid in self.tree()) / _TICKS

    def rss_mb(self) -> float:
        """Resident memory of the tree, in MB (10^6 bytes)."""
        return sum(_rss_kib(pid) for pid in self.tree()) * 1024 / 1e6

    def pause(self) -> None:
        """Hold every process of the tree where it is."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the tree go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the tree: kindly, then by force."""
        pids = self.tree()
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(PATIENCE_S)
        for pid in pids:
            if pid == self.pid and self._popen.poll() is not None:
                continue
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._popen.wait()

    def _signal(self, number: int) -> None:
        for pid in self.tree():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class Processes:
    """All processes of a run; leaving the block ends them, whatever happened."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[Process] = []

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        process = Process(argv, log=self._logs / f"{name}.log", env=env, cwd=cwd)
        self._running.append(process)
        return process

    def stop(self, process: Process) -> None:
        process.stop()
        self._running.remove(process)

    def only(self, *wanted: Process) -> None:
        """Hold all processes but these, so that a peer at rest costs the measured one nothing."""
        for process in self._running:
            if process in wanted:
                process.resume()
            else:
                process.pause()

    def resume(self) -> None:
        """Let all go on."""
        self.only(*self._running)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._running:
            self._running.pop().stop()


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def http_get(port: int, path: str, seconds: float = 5.0) -> tuple[int, bytes]:
    """Status and body of ``GET path`` on a loopback port; (0, b"") when nobody answers."""
    request = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), seconds) as sock:
            sock.sendall(request.encode())
            data = b""
            while not _is_whole(data) and (piece := sock.recv(65_536)):
                data += piece
    except OSError:
        return 0, b""
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head[9:12] or 0), body


def http_status(port: int, path: str) -> int:
    """Status of ``GET path``, 0 when nobody answers."""
    return http_get(port, path, 2.0)[0]


def _is_whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    lower = head.lower()
    place = lower.find(b"content-length:")
    return bool(end) and place >= 0 and len(body) >= int(lower[place + 15 :].split(b"\r\n")[0])


def _end_with_parent() -> None:
    """Asks Linux to kill this process when the benchmark is killed."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _ticks(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])


def _rss_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "0 0")
    return int(line.split()[1])
