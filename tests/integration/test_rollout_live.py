"""Simulated truths over HTTP: a server process with its SQLite file, scripted upstreams as both
models, and the controller's verdict."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from inhouse.testing.upstream_exchange import Request
from inhouse.testing.upstream_server import ScriptedUpstream

PATIENCE_S = 30.0
TOML = """
[upstreams.local]
base_url = "{url}"
[tasks.sentiment]
builtin = "sentiment"
kind = "choice"
chain = ["local/incumbent"]
on_failure = "error"
[tasks.sentiment.rollout]
margin = {margin}
min_success = 0
max_p95_s = 0
first_calls = 20
step_calls = 10
dwell_s = 0
bake_s = 0
guardrails = ["success"]
"""
MOST = 6000
"""Calls without a verdict after which a test gives up."""


def truth(incumbent: float, candidate: float) -> Any:
    """Models that fail at these rates; what each does with a text is drawn from the text."""
    rates = {"incumbent": incumbent, "candidate": candidate}

    def script(request: Request) -> str:
        said = json.dumps(request.messages[-1]["content"])
        failed = Random(f"5/{request.model}/{said}").random() < rates[request.model]
        return "no such label" if failed else "positive"

    return script


@contextmanager
def serving(folder: Path) -> Iterator[httpx.Client]:
    """``inhouse serve`` in a process of its own."""
    command = [sys.executable, "-m", "inhouse.cli.main", "--dir", str(folder), "serve"]
    process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    assert line.startswith("inhouse http"), line
    try:
        with httpx.Client(base_url=line.split()[1], timeout=PATIENCE_S) as http:
            yield http
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def ramp(http: httpx.Client) -> tuple[dict[str, Any], int]:
    """A rollout to its end, and the calls that were made."""
    body = {"task": "sentiment", "candidate": "local/candidate", "reason": "simulated"}
    begun = http.post("/v1/rollouts", json=body)
    assert begun.status_code == 201, begun.text
    path, sent = f"/v1/rollouts/{begun.json()['id']}", 0
    found = begun.json()
    while found["state"] in ("ramping", "baking") and sent < MOST:
        for _ in range(60):
            http.post("/v1/tasks/sentiment/run", json={"input": f"text {sent}"})
            sent += 1
        found = http.get(path).json()
    deadline = time.monotonic() + PATIENCE_S
    while found["state"] in ("ramping", "baking") and time.monotonic() < deadline:
        found = http.get(path).json()
    return found, sent


def until_spared(http: httpx.Client, upstream: ScriptedUpstream) -> bool:
    """Call until 60 calls in a row do not meet the candidate."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        before = upstream.hits["candidate"]
        for number in range(60):
            http.post("/v1/tasks/sentiment/run", json={"input": f"afterwards {number}"})
        if upstream.hits["candidate"] == before:
            return True
    return False


def project(folder: Path, upstream: ScriptedUpstream, margin: float) -> Path:
    text = TOML.format(url=upstream.base_url, margin=margin)
    (folder / "inhouse.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_collapse_is_rolled_back_over_http_and_a_file(tmp_path: Path) -> None:
    """.90 against .30, at the default steps."""
    with ScriptedUpstream(truth(0.1, 0.7)) as upstream:
        folder = project(tmp_path, upstream, 0.05)
        with serving(folder) as http:
            found, sent = ramp(http)
            assert found["state"] == "rolled_back", (found, sent)
            assert [one["kind"] for one in found["decisions"]][-1] == "roll_back"
            assert found["reading"]["harm"] >= 20
            assert found["reading"]["outcomes"] <= sent
            assert http.get("/v1/routes/sentiment").json()["weight_bp"] == 0
            assert until_spared(http, upstream), "calls still meet the candidate"
        assert (folder / ".inhouse" / "inhouse.db").stat().st_size > 0


@pytest.mark.full
def test_an_equal_model_is_promoted_over_http_and_a_file(tmp_path: Path) -> None:
    with ScriptedUpstream(truth(0.02, 0.02)) as upstream:
        folder = project(tmp_path, upstream, 0.2)
        with serving(folder) as http:
            found, sent = ramp(http)
            assert found["state"] == "done", (found, sent)
            kinds = [one["kind"] for one in found["decisions"]]
            assert kinds == ["start", *["advance"] * 6, "bake", "finish"]
            route = http.get("/v1/routes/sentiment").json()
            assert (route["incumbent"], route["weight_bp"]) == ("local/candidate", 0)
