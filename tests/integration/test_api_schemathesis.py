"""The OpenAPI document against a real server: whatever it allows is answered as it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.client.sync import Client
from inhouse.settings import load_settings
from inhouse.testing.upstream_server import ScriptedUpstream

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)
HOT = {"/v1/tasks/{task}/run", "/v1/tasks/{task}/run-batch", "/v1/feedback", "/v1/chat/completions"}
PROJECT = """
[server]
workers = 0
[upstreams.local]
base_url = "{url}"
[tasks.sentiment]
builtin = "sentiment"
kind = "choice"
chain = ["local/good"]
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("project")
    with ScriptedUpstream({"good": "positive"}) as upstream:
        (folder / "inhouse.toml").write_text(PROJECT.format(url=upstream.base_url))
        with serve_in_thread(bootstrap(load_settings(folder))) as server:
            yield server.url


@pytest.fixture(scope="module")
def document(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/openapi.json") as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_every_operation_tells_its_errors_in_our_form(document: dict[str, Any]) -> None:
    assert set(document["paths"]) >= HOT
    for path, operations in document["paths"].items():
        for operation in operations.values():
            told = json.dumps(operation["responses"])
            assert "schemas/Problem" in told or "schemas/OpenAIError" in told, path
            assert "ValidationError" not in told, path


def test_what_the_document_allows_is_answered_as_it_says(url: str, tmp_path: Path) -> None:
    """Bounded, and the same each time. Streams of events end when a run does, and are left out."""
    command = [
        Path(sys.executable).with_name("schemathesis"),
        *("run", f"{url}/openapi.json", "--checks", CHECKS, "--phases", "coverage,fuzzing"),
        *("--exclude-path-regex", "/events$", "--max-examples", "15", "--generation-deterministic"),
        *("--request-timeout", "60", "--continue-on-failure", "--no-color"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None
    assert int(generated[1]) >= 500
    with Client(url) as client:
        assert client.run("sentiment", "Profits rose.").output == {"label": "positive"}
