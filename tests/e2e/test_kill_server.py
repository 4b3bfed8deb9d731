"""SIGKILL at seeded random points under load, against the real server: what was promised stays."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from inhouse.testing.upstream_server import ScriptedUpstream

KILLS: Final = 15 if "INHOUSE_FULL" not in os.environ else 60
CALLERS: Final = 8
AT_RISK_S: Final = 0.05
SEED: Final = 20261121


@dataclass
class Load:
    """Callers that ask until the server is gone; when and which call was answered."""

    url: str
    answered: list[tuple[float, str]] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self.threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        for thread in self.threads:
            thread.start()

    def wait_for(self, answers: int) -> None:
        deadline = time.monotonic() + 30
        while len(self.answered) < answers:
            assert time.monotonic() < deadline, "the server answers nothing"
            time.sleep(0.001)

    def _call(self) -> None:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
        body = json.dumps({"input": "Profits doubled."})
        try:
            while True:
                headers = {"content-type": "application/json"}
                connection.request("POST", "/v1/tasks/mood/run", body, headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
                if response.status != 200:
                    self.refused.append(response.status)
                    return
                self.answered.append((time.monotonic(), answer["interaction_id"]))
        except (OSError, http.client.HTTPException, ValueError):
            return  # the server is gone


class Stalls:
    """The longest time for which this machine did not let a thread run that wanted to."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._tick)
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()

    def _tick(self) -> None:
        before = time.monotonic()
        while not self._ending.wait(0.001):
            now = time.monotonic()
            self.longest = max(self.longest, now - before - 0.001)
            before = now


def _start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "inhouse.cli.main", "--dir", str(folder), "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("inhouse http"), line
    return process, line.split()[1]


def _recorded(folder: Path) -> set[str]:
    with sqlite3.connect(folder / ".inhouse" / "inhouse.db") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        return {row[0] for row in database.execute("select id from interaction")}


@pytest.mark.parametrize("durability", ["durable", "fast"])
def test_killed_under_load(tmp_path: Path, durability: str) -> None:
    dice = random.Random(f"{SEED}-{durability}")
    stalls = Stalls()
    with ScriptedUpstream({"a": "positive"}) as upstream:
        (tmp_path / "inhouse.toml").write_text(
            f'[server]\nworkers = 0\n[recording]\ndurability = "{durability}"\n'
            f'[upstreams.up]\nbase_url = "{upstream.base_url}"\n'
            '[tasks.mood]\nbuiltin = "sentiment"\nkind = "choice"\nchain = ["up/a"]\n'
        )
        promised = 0
        for _ in range(KILLS):
            process, url = _start(tmp_path)
            load = Load(url)
            load.start()
            load.wait_for(dice.randint(1, 200))
            killed_at = time.monotonic()
            process.send_signal(signal.SIGKILL)
            process.wait()
            for thread in load.threads:
                thread.join()
            assert load.refused == []
            kept = _recorded(tmp_path)
            at_risk = AT_RISK_S + stalls.longest if durability == "fast" else 0.0
            due = [one for at, one in load.answered if not at_risk or at < killed_at - at_risk]
            missing = [one for one in due if one not in kept]
            assert missing == [], f"{len(missing)} of {len(due)} answered calls are lost"
            promised += len(due)
    stalls.stop()
    assert promised > KILLS
