"""The official client for JavaScript, from npm, against a real server."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.gateway.keys import Role, create
from inhouse.settings import Settings, TaskSettings, UpstreamSettings
from inhouse.testing.upstream_behaviours import completion, status
from inhouse.testing.upstream_exchange import Behaviour, Exchange
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.testing.upstream_streams import stream, stream_hang, stream_then_reset

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("openai_client.mjs")
VERSION = "6.49.0"
TOKENS = ["All ", "is ", "well", "."]
PIECES: list[dict[str, Any]] = [
    {"index": 0, "id": "c", "type": "function", "function": {"name": "weather", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"city":'}},
    {"index": 0, "function": {"arguments": '"Oslo"}'}},
]


async def weather(exchange: Exchange) -> None:
    call = {
        "id": "call-1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
    }
    body = (
        completion("It snows.")
        if exchange.request.messages[-1]["role"] == "tool"
        else completion(None, finish_reason="tool_calls", tool_calls=[call])
    )
    await exchange.respond(200, json.dumps(body).encode())


async def vectors(exchange: Exchange) -> None:
    """Vectors as they are asked for: the client asks for base64 unless told otherwise."""
    asked = exchange.request.body
    found: list[Any] = [[0.25, -0.5], [1.0, 0.0]]
    if asked.get("encoding_format") == "base64":
        found = [base64.b64encode(struct.pack("<2f", *one)).decode() for one in found]
    data = [{"object": "embedding", "index": n, "embedding": one} for n, one in enumerate(found)]
    body = {"object": "list", "data": data, "model": "embed", "usage": {"prompt_tokens": 2}}
    await exchange.respond(200, json.dumps(body).encode())


BEHAVIOURS: dict[str, Behaviour | str] = {
    "good": "positive",
    "weather": weather,
    "tokens": stream(TOKENS),
    "calls": stream([], tool_calls=PIECES, finish_reason="tool_calls"),
    "stalls": stream_hang(TOKENS, after=2),
    "dies": stream_then_reset(TOKENS, after=2),
    "embed": vectors,
    "busy": status(429, "slow down", retry_after=2),
    "down": status(500),
}


@pytest.fixture(scope="module")
def package() -> Path:
    """A folder in which the package ``openai`` is installed, once a checkout."""
    folder = ROOT / ".cache" / "npm" / f"openai-{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "node_modules" / "openai" / "package.json").exists():
            _install(folder)
    return folder


def _install(folder: Path) -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            _missing(f"{program} is not installed")
    (folder / "package.json").write_text('{"private": true}')
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"openai@{VERSION}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode != 0:
        shutil.rmtree(folder / "node_modules", ignore_errors=True)
        _missing(f"npm install failed: {done.stderr.strip().splitlines()[-1]}")


def _missing(why: str) -> None:
    if "npm" in os.environ.get("INHOUSE_REQUIRE", "").split(","):
        pytest.fail(f"npm is required here: {why}", pytrace=False)
    pytest.skip(f"npm: {why}")


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(BEHAVIOURS) as server:
        yield server


def test_the_official_client_for_javascript(
    package: Path, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    settings = Settings(
        upstreams={"local": UpstreamSettings(base_url=upstream.base_url)},
        tasks={
            "sentiment": TaskSettings(builtin="sentiment", kind="choice", chain=("local/good",))
        },
        folder=tmp_path,
    )
    app = bootstrap(settings)
    with app.database.write() as unit:
        _, key = create(unit, "node", Role.APPLICATION, app.clock.now())
    with serve_in_thread(app) as server:
        done = subprocess.run(
            ["node", SCRIPT, package, server.url, key], capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert dict(json.loads(line) for line in done.stdout.splitlines()) == {
        "task": [{"label": "positive"}, "local/good"],
        "tools": [{"city": "Oslo"}, "It snows."],
        "stream": ["".join(TOKENS), len(TOKENS)],
        "stream-tools": {"city": "Oslo"},
        "closed-early": True,
        "embeddings": [[0.25, -0.5], [1.0, 0.0]],
        "models": True,
        "unknown": ["NotFoundError", 404, "task-not-found", None],
        "invalid": ["UnprocessableEntityError", 422, "task-messages", None],
        "busy": ["RateLimitError", 429, "upstream-status", "2"],
        "down": ["InternalServerError", 502, "upstream-status", None],
        "stranger": ["AuthenticationError", 401, "unauthenticated", None],
        "dies": [True, True],
    }
