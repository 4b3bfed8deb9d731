"""Base URLs, requests as bytes, and whose machine an address is, all without a network."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from inhouse.core.errors import Invalid
from inhouse.inference.base import Hosting, Usage
from inhouse.inference.http.address import Address
from inhouse.inference.upstream import UpstreamBackend, hosting_of, without_key
from inhouse.settings import Price, UpstreamSettings


def test_a_request_is_one_head_and_the_body() -> None:
    address = Address("http://Model.Example:8000/v1/")
    wire = address.encode("POST", "/chat/completions", {"accept": "x"}, b"{}")
    assert wire == (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: model.example:8000\r\n"
        b"accept: x\r\ncontent-length: 2\r\n\r\n{}"
    )


def test_a_get_without_body_has_no_length() -> None:
    wire = Address("http://h/v1").encode("GET", "/models", {}, b"")
    assert wire == b"GET /v1/models HTTP/1.1\r\nhost: h\r\n\r\n"


@pytest.mark.parametrize(
    ("url", "host", "port", "authority"),
    [
        ("http://h", "h", 80, "h"),
        ("https://h/v1", "h", 443, "h"),
        ("https://h:80", "h", 80, "h:80"),
        ("http://[::1]:9/v1", "::1", 9, "[::1]:9"),
        ("http://bücher.example", "xn--bcher-kva.example", 80, "xn--bcher-kva.example"),
    ],
)
def test_takes_an_url_apart(url: str, host: str, port: int, authority: str) -> None:
    address = Address(url)
    assert (address.host, address.port, address.authority) == (host, port, authority)


def test_a_query_follows_every_path() -> None:
    wire = Address("http://h/d?api-version=1").encode("GET", "/models", {}, b"")
    assert wire.startswith(b"GET /d/models?api-version=1 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "ftp://h",
        "h:80",
        "http://h:99999",
        "http://h:x",
        "http://user:pw@h",
        "http://[::1",
    ],
)
def test_refuses_what_is_no_address(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        Address(url)
    assert caught.value.code == "upstream-url"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/x", {"a": "b\r\nc: d"}),
        ("/x", {"a": "b\nc"}),
        ("/x", {"a": "b\rc"}),
        ("/x\r\n", {}),
        ("/x", {"a": "→"}),
    ],
)
def test_refuses_what_would_break_out_of_its_line(path: str, headers: dict[str, str]) -> None:
    with pytest.raises(Invalid) as caught:
        Address("http://h").encode("GET", path, headers, b"")
    assert caught.value.code == "upstream-header"


@pytest.mark.parametrize(
    ("host", "hosting"),
    [
        ("localhost", Hosting.LOCAL),
        ("llm.localhost", Hosting.LOCAL),
        ("LOCALHOST.", Hosting.LOCAL),
        ("127.0.0.1", Hosting.LOCAL),
        ("127.9.9.9", Hosting.LOCAL),
        ("10.1.2.3", Hosting.LOCAL),
        ("172.16.0.1", Hosting.LOCAL),
        ("172.31.255.255", Hosting.LOCAL),
        ("172.32.0.1", Hosting.EXTERNAL),
        ("192.168.1.5", Hosting.LOCAL),
        ("192.169.1.5", Hosting.EXTERNAL),
        ("169.254.3.4", Hosting.LOCAL),
        ("8.8.8.8", Hosting.EXTERNAL),
        ("[::1]", Hosting.LOCAL),
        ("[fe80::1]", Hosting.LOCAL),
        ("[fd12::1]", Hosting.LOCAL),
        ("[::ffff:10.0.0.1]", Hosting.LOCAL),
        ("[::ffff:8.8.8.8]", Hosting.EXTERNAL),
        ("[2001:4860::8888]", Hosting.EXTERNAL),
        ("gpu.local", Hosting.LOCAL),
        ("host.docker.internal", Hosting.LOCAL),
        ("api.example.com", Hosting.EXTERNAL),
        ("local.example.com", Hosting.EXTERNAL),
        ("notlocal", Hosting.EXTERNAL),
    ],
)
def test_hosting_by_the_look_of_the_address(host: str, hosting: Hosting) -> None:
    settings = UpstreamSettings(base_url=f"http://{host}/v1")
    assert UpstreamBackend("u/m", settings=settings, model="m").hosting is hosting


def test_hosting_as_declared() -> None:
    settings = UpstreamSettings(base_url="http://10.0.0.1", hosted="external")
    assert hosting_of(settings, "10.0.0.1") is Hosting.EXTERNAL
    settings = UpstreamSettings(base_url="http://api.example.com", hosted="local")
    assert hosting_of(settings, "api.example.com") is Hosting.LOCAL


def test_external_upstreams_without_a_key_are_named() -> None:
    declared = {
        "there": UpstreamSettings(base_url="https://api.example.com/v1"),
        "keyed": UpstreamSettings(base_url="https://api.example.com/v1", api_key=SecretStr("k")),
        "ours": UpstreamSettings(base_url="https://api.example.com/v1", hosted="local"),
        "here": UpstreamSettings(base_url="http://localhost:11434/v1"),
    }
    assert without_key(declared) == ["there"]


def test_price_is_per_million_tokens() -> None:
    prices = {"m": Price(input_per_million=2.0, output_per_million=10.0)}
    settings = UpstreamSettings(base_url="http://h", prices=prices)
    usage = Usage(input_tokens=1000, output_tokens=50)
    assert UpstreamBackend("u/m", settings=settings, model="m").price(usage) == pytest.approx(
        0.0025
    )
    assert UpstreamBackend("u/n", settings=settings, model="n").price(usage) == 0.0
