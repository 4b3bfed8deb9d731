"""The pool over TLS, with a certificate made for the test."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from inhouse.core.errors import BackendError
from inhouse.inference.http.connection import HttpResponse
from inhouse.inference.http.pool import HttpPool
from inhouse.testing.upstream_behaviours import answer_then_close, huge
from inhouse.testing.upstream_server import ScriptedUpstream


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    return {"asyncio": asyncio.run, "uvloop": uvloop.run}[request.param]


def ask(pool: HttpPool, model: str = "m") -> Coroutine[Any, Any, HttpResponse]:
    body = json.dumps({"model": model, "messages": []}).encode()
    return pool.request("POST", "/chat/completions", {}, body)


def said(response: HttpResponse) -> str:
    text: str = json.loads(response.body)["choices"][0]["message"]["content"]
    return text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=test", "-addext"]
    command += ["subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl: not installed")
    return certificate, key


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[ScriptedUpstream]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    script = {"m": "yes", "close": answer_then_close("yes"), "huge": huge(3_000_000)}
    with ScriptedUpstream(script, tls=context) as server:
        yield server


def test_tls_with_trust_keeps_its_connection(secure, certificate, run) -> None:
    async def main() -> None:
        trust = ssl.create_default_context(cafile=str(certificate[0]))
        pool = HttpPool(secure.base_url, verify=trust)
        for _ in range(3):
            assert said(await ask(pool)) == "yes"
        assert len((await ask(pool, "huge")).body) > 3_000_000
        assert secure.connections == 1
        for _ in range(20):
            assert said(await ask(pool, "close")) == "yes"
        await pool.close()
        await asyncio.to_thread(secure.wait_until, lambda: secure.open_connections == 0)

    run(main())


def test_tls_streams_and_makes_the_upstream_wait(secure, certificate, run) -> None:
    async def main() -> None:
        trust = ssl.create_default_context(cafile=str(certificate[0]))
        pool = HttpPool(secure.base_url, verify=trust, max_connections=1)
        for _ in range(2):
            body = json.dumps({"model": "huge", "messages": []}).encode()
            answer = await pool.stream("POST", "/chat/completions", {}, body)
            async with asyncio.timeout(30):
                while not answer._paused:
                    await asyncio.sleep(0)
            whole = b"".join([piece async for piece in answer])
            assert len(json.loads(whole)["choices"][0]["message"]["content"]) == 3_000_000
        assert secure.connections == 1
        await pool.close()
        await asyncio.to_thread(secure.wait_until, lambda: secure.open_connections == 0)

    run(main())


def test_tls_without_trust_is_refused_before_a_request(secure, run) -> None:
    async def main() -> None:
        with pytest.raises(BackendError) as caught:
            await ask(HttpPool(secure.base_url))
        assert caught.value.code == "upstream-tls"
        assert not caught.value.retryable

    run(main())
    assert secure.requests == []


def test_tls_to_a_plain_server_is_a_connect_error(run) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BackendError) as caught:
            await ask(HttpPool(f"https://127.0.0.1:{port}/v1"))
        assert caught.value.code == "upstream-connect"
        server.close()

    run(main())
